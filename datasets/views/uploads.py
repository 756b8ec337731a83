"""Files on their way into a version: at once, or in pieces; and an import that is called off.

The addresses for pieces are static/js/upload.js's: they answer with JSON, and with a sentence in `error` where
something is not as it should be.
"""

from __future__ import annotations

from http import HTTPStatus

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse, JsonResponse, UnreadablePostError
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from console.htmx import HtmxHttpRequest, wants_fragment
from datasets import publishing, receiving
from datasets.formats import FORMATS
from datasets.forms import UploadForm
from datasets.models import Upload
from datasets.uploads import cancel_import, import_files
from datasets.views.common import go, version_context, writable_version


@require_POST
@login_required
def upload(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Replaces the files of a version that is not published and imports them."""
    version = writable_version(request, uid)
    form = UploadForm(request.POST, request.FILES)
    try:
        publishing.require_open(version)
        if form.is_valid():
            import_files(version, form.cleaned_data["files"], form.cleaned_data["format"])
            return go(request, version)
    except publishing.NotAllowed as error:
        messages.error(request, str(error))
        return go(request, version)
    if wants_fragment(request):
        return render(request, "datasets/_upload_form.html", {"version": version, "form": form}, status=422)
    context = version_context(request, version) | {"form": form}
    return render(request, "datasets/version.html", context, status=422)


# --- In pieces -----------------------------------------------------------------------------------------------


@require_POST
@login_required
def begin_upload(request: HtmxHttpRequest, uid: str) -> JsonResponse:
    """Announces a file by name, size and date; says how much of it is here already and where its pieces go."""
    version = writable_version(request, uid)
    try:
        size = int(request.POST["size"])
        started = receiving.begin(
            version, request.user, request.POST["name"], size, request.POST.get("modified", "")
        )
    except (KeyError, ValueError):
        return _error(_("The request is incomplete."), HTTPStatus.BAD_REQUEST)
    except publishing.NotAllowed as error:
        return _error(str(error), HTTPStatus.FORBIDDEN)
    except ValidationError as error:
        return _error(" ".join(error.messages), HTTPStatus.UNPROCESSABLE_ENTITY)
    return JsonResponse(
        {
            "uid": started.uid,
            "received": started.received,
            "url": reverse("datasets:upload_piece", args=[version.uid, started.uid]),
        }
    )


@require_POST
@login_required
def upload_piece(request: HtmxHttpRequest, uid: str, upload_uid: str) -> JsonResponse:
    """Takes the piece of a file that starts at the query's `offset`: the body as it is, read in small parts."""
    found = _own_upload(request, uid, upload_uid)
    try:
        length, offset = int(request.headers["Content-Length"]), int(request.GET["offset"])
    except (KeyError, ValueError):
        return _error(_("The request is incomplete."), HTTPStatus.LENGTH_REQUIRED)
    if length > receiving.MAX_PIECE_BYTES:
        return _error(_("The piece is too large."), HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        received = receiving.receive(found, offset, request, length)  # type: ignore[arg-type]  # it has read()
    except receiving.WrongOffset as error:
        answer = {"error": _("The piece does not fit."), "received": error.received}
        return JsonResponse(answer, status=HTTPStatus.CONFLICT)
    except publishing.NotAllowed as error:
        return _error(str(error), HTTPStatus.FORBIDDEN)
    except (receiving.Interrupted, UnreadablePostError):
        return _error(_("The connection was lost."), HTTPStatus.BAD_REQUEST)
    return JsonResponse({"received": received})


@require_POST
@login_required
def import_arrived(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Starts the import of the files that have arrived in pieces; a script is told the page to go to."""
    version = writable_version(request, uid)
    format_key = request.POST.get("format", "")
    asks_json = request.accepts("application/json") and not request.accepts("text/html")
    try:
        receiving.import_arrived(version, request.user, format_key if format_key in FORMATS else "")
    except publishing.NotAllowed as error:
        if asks_json:
            return _error(str(error), HTTPStatus.FORBIDDEN)
        messages.error(request, str(error))
    if asks_json:
        return JsonResponse({"url": reverse("datasets:version", args=[version.uid])})
    return go(request, version)


@require_POST
@login_required
def discard_upload(request: HtmxHttpRequest, uid: str, upload_uid: str) -> HttpResponse:
    """Forgets a file that has not arrived as a whole."""
    found = _own_upload(request, uid, upload_uid)
    receiving.discard([found])
    if wants_fragment(request):
        return render(request, "datasets/_unfinished.html", {"version": found.version})
    return go(request, found.version)


def _own_upload(request: HtmxHttpRequest, uid: str, upload_uid: str) -> Upload:
    """An upload that the person began and may go on with; raises Http404, PermissionDenied."""
    version = writable_version(request, uid)
    found = get_object_or_404(Upload, uid=upload_uid, version=version, user=request.user)
    found.version = version
    return found


def _error(sentence: str, status: HTTPStatus) -> JsonResponse:
    return JsonResponse({"error": sentence}, status=status)


# --- Calling off ---------------------------------------------------------------------------------------------


@require_POST
@login_required
def cancel(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Calls off the import under way; the files stay, so that it can be repeated."""
    version = writable_version(request, uid)
    try:
        cancel_import(version)
    except publishing.NotAllowed as error:
        messages.error(request, str(error))
    else:
        messages.success(request, _("The import was cancelled. Nothing of it was kept but the files."))
    return go(request, version)
