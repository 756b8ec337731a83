"""A version as a file in a format of the reader's choice."""

from __future__ import annotations

from itertools import chain

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from console.downloads import as_file
from console.htmx import HtmxHttpRequest
from datasets import exporting
from datasets.models import DatasetVersion
from datasets.views.common import tab_context, visible_version


@require_GET
@login_required
def export(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The formats and kinds of file to choose from."""
    return _page(request, visible_version(request, uid))


@require_GET
@login_required
def export_file(request: HtmxHttpRequest, uid: str) -> HttpResponseBase:
    """The file; where rows would lose something, the reason instead, unless `leave_out` asks to go without them."""
    version = visible_version(request, uid)
    try:
        chosen = exporting.choose(version, request.GET.get("as", ""))
        if not request.GET.get("leave_out") and (loss := exporting.loss(version, chosen)):
            return _page(request, version, chosen=chosen, loss=loss, status=422)
        pieces = exporting.written(version, chosen)
        # The first piece now: what the storage has lost is said, not sent as half a file.
        first = next(pieces, b"")
    except exporting.Refused as reason:
        return _page(request, version, problem=str(reason), status=422)
    except FileNotFoundError as error:
        raise Http404(_("The rows are no longer in the storage.")) from error
    answer = StreamingHttpResponse(chain((first,), pieces), content_type=chosen.container.content_type)
    answer["X-Content-Type-Options"] = "nosniff"
    return as_file(answer, exporting.file_name(version, chosen))


def _page(
    request: HtmxHttpRequest,
    version: DatasetVersion,
    *,
    chosen: exporting.Export | None = None,
    loss: exporting.Loss | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    exports = exporting.exports_of(version) if version.row_count else []
    context = tab_context(request, version, "") | {
        "exports": exports,
        "chosen": chosen or (exports[0] if exports else None),
        "loss": loss,
        "kept": version.row_count - loss.count if loss else 0,
        "problem": problem,
    }
    return render(request, "datasets/export.html", context, status=status)
