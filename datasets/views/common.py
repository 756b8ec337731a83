"""What the pages of datasets share."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect

from console.access import get_visible, get_writable, may_write
from console.htmx import HtmxHttpRequest, wants_fragment
from datasets import publishing
from datasets.encodings import ENCODINGS
from datasets.forms import FormatForm, UploadForm
from datasets.models import DatasetVersion
from datasets.preview import TASTE_ROWS, ShownRow, first_rows
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


def tab_context(request: HtmxHttpRequest, version: DatasetVersion, tab: str) -> dict[str, Any]:
    """What templates/datasets/version_base.html needs."""
    return {
        "nav": "datasets",
        "version": version,
        "dataset": version.dataset,
        "tab": tab,
        "may_write": may_write(request, version.dataset.workspace_id),
    }


def version_context(request: HtmxHttpRequest, version: DatasetVersion) -> dict[str, Any]:
    """What the overview of a version needs."""
    context = tab_context(request, version, "overview")
    errors, files_lost = error_count(version.problem_kinds), spoilt_files(version.problem_kinds)
    return context | {
        "files": list(version.files.all()),
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
        "first_rows": _taste(version),
        "form": UploadForm() if context["may_write"] else None,
        "format_form": FormatForm(auto_id="again_%s", initial={"format": version.format}),
    }


def _taste(version: DatasetVersion) -> list[ShownRow] | None:
    """A few rows; None where the storage has lost them."""
    try:
        return first_rows(version, TASTE_ROWS)
    except FileNotFoundError:
        return None
