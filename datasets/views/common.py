"""What the pages of datasets share."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from console.access import get_visible, get_writable, may_write
from console.htmx import HtmxHttpRequest, wants_fragment
from datasets import publishing
from datasets.encodings import ENCODINGS
from datasets.forms import UploadForm
from datasets.models import DatasetVersion
from datasets.preview import ROWS_A_PAGE, Rows, ShownRow
from datasets.problems import error_count, grouped, spoilt_files


def go(request: HtmxHttpRequest, version: DatasetVersion) -> HttpResponse:
    """To the version's page, also from a form that htmx sent."""
    address = reverse("datasets:version", args=[version.uid])
    return HttpResponseClientRedirect(address) if wants_fragment(request) else redirect(address)


def visible_version(request: HtmxHttpRequest, uid: str) -> DatasetVersion:
    versions = DatasetVersion.objects.select_related("dataset__workspace", "created_by")
    return get_visible(versions, request.user, "dataset__workspace", uid=uid)


def writable_version(request: HtmxHttpRequest, uid: str) -> DatasetVersion:
    versions = DatasetVersion.objects.select_related("dataset__workspace", "created_by")
    return get_writable(versions, request.user, "dataset__workspace", uid=uid)


def version_context(request: HtmxHttpRequest, version: DatasetVersion) -> dict[str, Any]:
    writes = may_write(request, version.dataset.workspace_id)
    errors, files_lost = error_count(version.problem_kinds), spoilt_files(version.problem_kinds)
    return {
        "nav": "datasets",
        "version": version,
        "dataset": version.dataset,
        "files": list(version.files.all()),
        "may_write": writes,
        "is_open": version.state in publishing.OPEN_STATES,
        "error_count": errors,
        "bad_rows": errors - files_lost,
        "spoilt_files": files_lost,
        "encodings": sorted(
            {
                ENCODINGS[problem["params"]["encoding"]]
                for problem in version.problems
                if problem["kind"] == "other_encoding"
            }
        ),
        "groups": grouped(version.problems, version.problem_kinds),
        "page_obj": _page_of_rows(request, version),
        "form": UploadForm() if writes else None,
        "publish_url": reverse("datasets:publish", args=[version.uid]),
    }


def _page_of_rows(request: HttpRequest, version: DatasetVersion) -> Page[ShownRow] | None:
    """The rows to show; None where the storage has lost them."""
    try:
        return Paginator(Rows(version), ROWS_A_PAGE).get_page(request.GET.get("page"))
    except FileNotFoundError:
        return None
