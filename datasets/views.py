"""Pages of datasets and their versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Page, Paginator
from django.db import IntegrityError
from django.db.models import OuterRef, Subquery
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect, HttpResponseStopPolling

from console.access import current_workspace, get_visible, get_writable, may_write, writable_workspace
from console.htmx import HtmxHttpRequest, wants_fragment
from datasets import pictures, publishing
from datasets.encodings import ENCODINGS
from datasets.formats import by_row_type
from datasets.forms import DatasetForm, FilterForm, UploadForm
from datasets.models import Dataset, DatasetVersion, VersionState
from datasets.preview import ROWS_A_PAGE, Rows, ShownRow
from datasets.problems import error_count, grouped, spoilt_files
from datasets.storage import stream
from datasets.uploads import import_files, import_sample

PAGE_SIZE = 20
ResponseType = TypeVar("ResponseType", bound=HttpResponseBase)


@require_GET
@login_required
def dataset_list(request: HtmxHttpRequest) -> HttpResponse:
    """The workspace's datasets, each with its latest version; the table alone for htmx."""
    workspace = current_workspace(request)
    query = FilterForm(request.GET)
    query.is_valid()
    q, state = query.cleaned_data.get("q", ""), query.cleaned_data.get("state", "")
    found = Dataset.objects.filter(workspace=workspace)
    if q:
        found = found.filter(name__icontains=q)
    if state:
        latest = DatasetVersion.objects.filter(dataset=OuterRef("pk")).order_by("-number")
        found = found.alias(latest_state=Subquery(latest.values("state")[:1])).filter(latest_state=state)
    page = Paginator(found, PAGE_SIZE).get_page(request.GET.get("page"))
    newest = DatasetVersion.objects.filter(dataset__in=list(page)).order_by("dataset_id", "-number")
    versions = {version.dataset_id: version for version in newest.distinct("dataset_id").defer("problems")}
    rows = [(dataset, versions.get(dataset.pk)) for dataset in page]
    context = {
        "nav": "datasets",
        "page_obj": page,
        "rows": rows,
        "q": q,
        "state": state,
        "states": VersionState.choices,
        "is_filtered": bool(q or state),
        "is_importing": any(
            version and version.state == VersionState.IMPORTING for _dataset, version in rows
        ),
    }
    template = "datasets/_list_table.html" if wants_fragment(request) else "datasets/list.html"
    return render(request, template, context)


@require_http_methods(["GET", "POST"])
@login_required
def create(request: HtmxHttpRequest) -> HttpResponse:
    """A new dataset with V1; files chosen in the same form are imported at once."""
    workspace = writable_workspace(request)
    form = DatasetForm(request.POST or None, request.FILES or None, workspace=workspace)
    if request.method == "POST" and form.is_valid():
        version = _create(request, form)
        if version:
            return _go(request, version)
    context = {"nav": "datasets", "form": form, "format_groups": by_row_type()}
    template = "datasets/_create_form.html" if wants_fragment(request) else "datasets/create.html"
    return render(request, template, context, status=422 if form.errors else 200)


def _create(request: HtmxHttpRequest, form: DatasetForm) -> DatasetVersion | None:
    """Carries out a valid form; None, with an error at the field, if the name was taken meanwhile."""
    data = form.cleaned_data
    workspace = form.instance.workspace
    try:
        version = publishing.create_dataset(workspace, request.user, data["name"], data["description"])
    except IntegrityError:
        form.add_error("name", _("This workspace already has a dataset of that name."))
        return None
    if data["files"]:
        import_files(version, data["files"], data["format"])
    return version


@require_POST
@login_required
def create_from_sample(request: HtmxHttpRequest) -> HttpResponse:
    """A new dataset from the sample conversations that come with the console."""
    workspace = writable_workspace(request)
    version = publishing.create_sample_dataset(workspace, request.user)
    import_sample(version)
    return _go(request, version)


def _go(request: HtmxHttpRequest, version: DatasetVersion) -> HttpResponse:
    """To the version's page, also from a form that htmx sent."""
    address = reverse("datasets:version", args=[version.uid])
    return HttpResponseClientRedirect(address) if wants_fragment(request) else redirect(address)


@require_GET
@login_required
def detail(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """A dataset and its versions; the table alone for htmx, while one is imported."""
    dataset = get_visible(Dataset.objects.select_related("workspace"), request.user, uid=uid)
    versions = list(dataset.versions.defer("problems").select_related("created_by"))
    context = {
        "nav": "datasets",
        "dataset": dataset,
        "versions": versions,
        "has_rows": any(version.row_count for version in versions),
        "is_importing": any(version.state == VersionState.IMPORTING for version in versions),
        "may_write": may_write(request, dataset.workspace_id),
    }
    template = "datasets/_versions_table.html" if wants_fragment(request) else "datasets/detail.html"
    return render(request, template, context)


@require_POST
@login_required
def add_version(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The next version of a dataset, empty."""
    dataset = get_writable(Dataset.objects.select_related("workspace"), request.user, uid=uid)
    return _go(request, publishing.new_version(dataset, request.user))


@require_GET
@login_required
def version_page(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """One version: state, figures, problems, a page of its rows, what can be done with it."""
    context = _version_context(request, _visible_version(request, uid))
    return render(request, "datasets/version.html", context)


@require_GET
@login_required
def import_progress(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """How far the import is, asked again and again by the version's page until it has ended."""
    version = _visible_version(request, uid)
    context = _version_context(request, version) | {"is_poll": True}
    response = render(request, "datasets/_version_panel.html", context)
    if version.state != VersionState.IMPORTING:
        response.status_code = HttpResponseStopPolling.status_code
    return response


@require_POST
@login_required
def upload(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Replaces the files of a version that is not published and imports them."""
    version = _writable_version(request, uid)
    form = UploadForm(request.POST, request.FILES)
    try:
        publishing.require_open(version)
        if form.is_valid():
            import_files(version, form.cleaned_data["files"], form.cleaned_data["format"])
            return _go(request, version)
    except publishing.NotAllowed as error:
        messages.error(request, str(error))
        return _go(request, version)
    if wants_fragment(request):
        return render(request, "datasets/_upload_form.html", {"version": version, "form": form}, status=422)
    context = _version_context(request, version) | {"form": form}
    return render(request, "datasets/version.html", context, status=422)


@require_POST
@login_required
def accept(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Takes the good rows of a failed import and leaves the bad ones out."""
    return _change(request, uid, publishing.accept_good_rows, _("The good rows were taken over."))


@require_POST
@login_required
def retry(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Imports the version's files once more."""
    return _change(request, uid, publishing.repeat_import, "")


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
    version = _writable_version(request, uid)
    try:
        change(version)
    except publishing.NotAllowed as error:
        messages.error(request, str(error))
    else:
        if success:
            messages.success(request, success)
    return _go(request, version)


@require_GET
@login_required
def download(request: HtmxHttpRequest, uid: str) -> FileResponse:
    """The canonical rows as a .jsonl file."""
    version = _visible_version(request, uid)
    if not version.rows_path:
        raise Http404(_("This version has no rows."))
    name = f"{version.dataset.name}-{version.label}.jsonl"
    try:
        file = stream(version.rows_path)
    except FileNotFoundError as error:
        raise Http404(_("The rows are no longer in the storage.")) from error
    return FileResponse(file, as_attachment=True, filename=name, content_type="application/jsonl")


@require_GET
@login_required
def picture(request: HtmxHttpRequest, uid: str, name: str) -> FileResponse:
    """A picture of a version as it was uploaded."""
    version = _visible_version(request, uid)
    try:
        file = pictures.open_picture(version, name)
    except FileNotFoundError as error:
        raise Http404(_("There is no such picture.")) from error
    content_type = pictures.CONTENT_TYPES[name.rpartition(".")[2]]
    return _forever(FileResponse(file, content_type=content_type, filename=name))


@require_GET
@login_required
def picture_thumbnail(request: HtmxHttpRequest, uid: str, name: str) -> HttpResponse:
    """A small copy of a picture."""
    version = _visible_version(request, uid)
    try:
        small = pictures.thumbnail(version, name)
    except FileNotFoundError as error:
        raise Http404(_("There is no such picture.")) from error
    return _forever(HttpResponse(small, content_type="image/webp"))


def _forever(response: ResponseType) -> ResponseType:
    """A picture's name is made of its content: the browser may keep it, but no cache that others share."""
    response["Cache-Control"] = "private, max-age=31536000, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _visible_version(request: HtmxHttpRequest, uid: str) -> DatasetVersion:
    versions = DatasetVersion.objects.select_related("dataset__workspace", "created_by")
    return get_visible(versions, request.user, "dataset__workspace", uid=uid)


def _writable_version(request: HtmxHttpRequest, uid: str) -> DatasetVersion:
    versions = DatasetVersion.objects.select_related("dataset__workspace", "created_by")
    return get_writable(versions, request.user, "dataset__workspace", uid=uid)


def _page_of_rows(request: HttpRequest, version: DatasetVersion) -> Page[ShownRow] | None:
    """The rows to show; None where the storage has lost them."""
    try:
        return Paginator(Rows(version), ROWS_A_PAGE).get_page(request.GET.get("page"))
    except FileNotFoundError:
        return None


def _version_context(request: HtmxHttpRequest, version: DatasetVersion) -> dict[str, Any]:
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
