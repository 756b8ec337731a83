"""Files of a version that are sent as they are: rows, pictures."""

from __future__ import annotations

from typing import TypeVar

from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from console.downloads import as_file
from console.htmx import HtmxHttpRequest
from datasets import pictures
from datasets.rows import json_lines
from datasets.views.common import visible_version

ResponseType = TypeVar("ResponseType", bound=HttpResponseBase)


@require_GET
@login_required
def download(request: HtmxHttpRequest, uid: str) -> StreamingHttpResponse:
    """The canonical rows as a .jsonl file."""
    version = visible_version(request, uid)
    if not version.rows_path:
        raise Http404(_("This version has no rows."))
    if not default_storage.exists(version.rows_path):
        raise Http404(_("The rows are no longer in the storage."))
    response = StreamingHttpResponse(json_lines(version), content_type="application/jsonl")
    return as_file(response, f"{version.dataset.name}-{version.label}.jsonl")


@require_GET
@login_required
def picture(request: HtmxHttpRequest, uid: str, name: str) -> FileResponse:
    """A picture of a version as it was uploaded."""
    version = visible_version(request, uid)
    try:
        file = pictures.open_picture(version, name)
    except FileNotFoundError as error:
        raise Http404(_("There is no such picture.")) from error
    content_type = pictures.CONTENT_TYPES[name.rpartition(".")[2]]
    return forever(FileResponse(file, content_type=content_type, filename=name))


@require_GET
@login_required
def picture_thumbnail(request: HtmxHttpRequest, uid: str, name: str) -> HttpResponse:
    """A small copy of a picture."""
    version = visible_version(request, uid)
    try:
        small = pictures.thumbnail(version, name)
    except FileNotFoundError as error:
        raise Http404(_("There is no such picture.")) from error
    return forever(HttpResponse(small, content_type="image/webp"))


def forever(response: ResponseType) -> ResponseType:
    """A picture's name is made of its content: the browser may keep it, but no cache that others share."""
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    return response
