"""The list of datasets, a dataset's own page, and new ones."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from console.access import current_workspace, get_visible, get_writable, may_write, writable_workspace
from console.htmx import HtmxHttpRequest, wants_fragment
from datasets import publishing
from datasets.formats import by_row_type
from datasets.forms import DatasetForm, FilterForm
from datasets.models import Dataset, DatasetVersion, RowType, VersionState
from datasets.uploads import import_files, import_sample
from datasets.views.common import go

PAGE_SIZE = 20
# What `?sort=` may name, with the column behind it; a leading "-" turns the order round.
SORTS = {"created": "created_at", "name": "name", "rows": "latest_rows"}
DEFAULT_SORT = "-created"


@require_GET
@login_required
def dataset_list(request: HtmxHttpRequest) -> HttpResponse:
    """The workspace's datasets, each with its latest version; the table alone for htmx."""
    workspace = current_workspace(request)
    query = FilterForm(request.GET)
    query.is_valid()
    q, state = query.cleaned_data.get("q", ""), query.cleaned_data.get("state", "")
    kind, sort = request.GET.get("kind", ""), request.GET.get("sort", "")
    kind = kind if kind in RowType.values else ""
    sort = sort if sort.removeprefix("-") in SORTS else DEFAULT_SORT
    found = _filtered(Dataset.objects.filter(workspace=workspace), q, state, kind)
    found = _sorted(found, sort)
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
        "kind": kind,
        "kinds": RowType.choices,
        "sort": sort,
        "is_filtered": bool(q or state or kind),
        "is_importing": any(
            version and version.state == VersionState.IMPORTING for _dataset, version in rows
        ),
    }
    template = "datasets/_list_table.html" if wants_fragment(request) else "datasets/list.html"
    return render(request, template, context)


def _latest(field: str) -> Subquery:
    """A field of each dataset's latest version."""
    latest = DatasetVersion.objects.filter(dataset=OuterRef("pk")).order_by("-number")
    return Subquery(latest.values(field)[:1])


def _filtered(found: QuerySet[Dataset], q: str, state: str, kind: str) -> QuerySet[Dataset]:
    """Datasets by name, description or identifier (also that of a version), state of the latest version, kind."""
    if q:
        version = DatasetVersion.objects.filter(dataset=OuterRef("pk"), uid=q)
        is_text = Q(name__icontains=q) | Q(description__icontains=q) | Q(uid=q)
        found = found.filter(is_text | Q(Exists(version)))
    if state:
        found = found.alias(latest_state=_latest("state")).filter(latest_state=state)
    # A dataset without rows has no kind yet.
    if kind:
        filled = DatasetVersion.objects.filter(dataset=OuterRef("pk"), row_count__gt=0)
        found = found.filter(Exists(filled), row_type=kind)
    return found


def _sorted(found: QuerySet[Dataset], sort: str) -> QuerySet[Dataset]:
    column = SORTS[sort.removeprefix("-")]
    if column == "latest_rows":
        found = found.annotate(latest_rows=Coalesce(_latest("row_count"), 0))
    sign = "-" if sort.startswith("-") else ""
    return found.order_by(f"{sign}{column}", f"{sign}pk")


@require_http_methods(["GET", "POST"])
@login_required
def create(request: HtmxHttpRequest) -> HttpResponse:
    """A new dataset with V1; files chosen in the same form are imported at once."""
    workspace = writable_workspace(request)
    form = DatasetForm(request.POST or None, request.FILES or None, workspace=workspace)
    if request.method == "POST" and form.is_valid():
        version = _create(request, form)
        if version:
            return go(request, version)
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
    return go(request, version)


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
    return go(request, publishing.new_version(dataset, request.user))
