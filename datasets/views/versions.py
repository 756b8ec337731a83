"""A version's page, its import, and what changes its state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseStopPolling

from console.htmx import HtmxHttpRequest
from datasets import publishing
from datasets.forms import FormatForm
from datasets.models import DatasetVersion, VersionState
from datasets.views.common import go, version_context, visible_version, writable_version


@require_GET
@login_required
def version_page(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """One version: state, figures, problems, a page of its rows, what can be done with it."""
    context = version_context(request, visible_version(request, uid))
    return render(request, "datasets/version.html", context)


@require_GET
@login_required
def import_progress(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """How far the import is, asked again and again by the version's page until it has ended."""
    version = visible_version(request, uid)
    context = version_context(request, version) | {"is_poll": True}
    response = render(request, "datasets/_version_panel.html", context)
    if version.state != VersionState.IMPORTING:
        response.status_code = HttpResponseStopPolling.status_code
    return response


@require_POST
@login_required
def accept(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Takes the good rows of a failed import and leaves the bad ones out."""
    return _change(request, uid, publishing.accept_good_rows, _("The good rows were taken over."))


@require_POST
@login_required
def retry(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Imports the version's files once more, in another format if `format` is sent."""
    form = FormatForm(request.POST)
    chosen = form.cleaned_data["format"] if "format" in request.POST and form.is_valid() else None
    return _change(request, uid, partial(publishing.repeat_import, format_key=chosen), "")


@require_POST
@login_required
def convert(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Imports the version's files once more, texts that are not UTF-8 in the encoding that was recognised."""
    return _change(request, uid, publishing.accept_encodings, "")


@require_POST
@login_required
def publish_version(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Makes a draft available for training."""
    return _change(request, uid, publishing.publish, _("Published. Training jobs can use this version now."))


def _change(
    request: HtmxHttpRequest, uid: str, change: Callable[[DatasetVersion], None], success: str
) -> HttpResponse:
    """Carries out one change of state and says how it went."""
    version = writable_version(request, uid)
    try:
        change(version)
    except publishing.NotAllowed as error:
        messages.error(request, str(error))
    else:
        if success:
            messages.success(request, success)
    return go(request, version)
