"""我的模型: what training has made, for people who use it."""

from pathlib import PurePosixPath

from django.contrib.auth.decorators import login_required
from django.core.files.storage import default_storage
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import FileResponse, Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST
from django.views.decorators.vary import vary_on_headers

from catalog import deletion
from catalog.archive import archive, folder_name
from catalog.models import Model, ModelType, ModelVersion
from catalog.models.registry import ModelVersionState
from catalog.push_views import pushes_context
from console.access import current_workspace, get_visible, get_writable, may_write
from console.deletion_pages import delete
from console.disks import on_disk
from console.downloads import as_file
from console.htmx import HtmxHttpRequest, wants_fragment

PAGE_SIZE = 20
MOST_CARD_BYTES = 64 * 1024


@require_GET
@login_required
@vary_on_headers("HX-Request")
def model_list(request: HtmxHttpRequest) -> HttpResponse:
    """The models of the workspace with their newest version; the table alone for htmx."""
    workspace = current_workspace(request)
    q, kind = request.GET.get("q", "").strip(), request.GET.get("type", "")
    models = Model.objects.filter(workspace=workspace)
    if q:
        models = models.filter(name__icontains=q)
    if kind in ModelType.values:
        models = models.filter(model_type=kind)
    # Grouping drops the model's own order.
    models = models.annotate(version_count=Count("versions")).order_by("-created_at", "-pk")
    page = Paginator(models, PAGE_SIZE).get_page(request.GET.get("page"))
    newest = ModelVersion.objects.filter(model__in=list(page)).order_by("model_id", "-number")
    newest = newest.distinct("model_id").select_related("base_model")
    versions = {version.model_id: version for version in newest}
    context = {
        "page_obj": page,
        "rows": [(model, versions.get(model.pk)) for model in page],
        "q": q,
        "type": kind,
        "types": ModelType.choices,
        "is_filtered": bool(q or kind),
        "nav": "models",
    }
    template = "models/_list_table.html" if wants_fragment(request) else "models/list.html"
    return render(request, template, context)


@require_GET
@login_required
@vary_on_headers("HX-Request")
def model_detail(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """A model and its versions; the table alone for htmx (while one is being published)."""
    model = get_visible(Model.objects.select_related("workspace"), request.user, uid=uid)
    versions = model.versions.select_related("base_model", "created_by", "run__job").order_by("-number")
    context = {
        "model": model,
        "versions": list(versions),
        "may_write": may_write(request, model.workspace_id),
        "is_publishing": model.versions.filter(state=ModelVersionState.CREATING).exists(),
        "nav": "models",
    }
    template = "models/_versions_table.html" if wants_fragment(request) else "models/detail.html"
    return render(request, template, context)


@require_GET
@login_required
def version_detail(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """One version: its files, its metrics, the run it comes from, how it is loaded."""
    found = ModelVersion.objects.select_related(
        "model__workspace", "base_model", "created_by", "run__job", "run__base_run__job"
    )
    version = get_visible(found, request.user, "model__workspace", uid=uid)
    context = {
        "version": version,
        "metrics": {key: value for key, value in version.metrics.items() if isinstance(value, int | float)},
        "is_adapter": any(item["name"] == "adapter_config.json" for item in version.files),
        "directory": _local_directory(version),
        "card": _model_card(version),
        "may_write": may_write(request, version.model.workspace_id),
        "nav": "models",
    }
    return render(request, "models/version.html", context | pushes_context(version))


@require_GET
@login_required
def version_file(request: HtmxHttpRequest, uid: str, name: str) -> FileResponse:
    """One file of a version, as it was published."""
    found = ModelVersion.objects.filter(state=ModelVersionState.READY)
    version = get_visible(found, request.user, "model__workspace", uid=uid)
    if name not in {item["name"] for item in version.files}:
        raise Http404(_("This version has no such file."))
    try:
        file = default_storage.open(f"{version.path}/{name}")
    except FileNotFoundError:
        raise Http404(_("This file is no longer in the storage.")) from None
    return FileResponse(file, as_attachment=True, filename=PurePosixPath(name).name)


@require_GET
@login_required
def version_archive(request: HtmxHttpRequest, uid: str) -> StreamingHttpResponse:
    """All files of a version as one .zip."""
    found = ModelVersion.objects.select_related("model").filter(state=ModelVersionState.READY)
    version = get_visible(found, request.user, "model__workspace", uid=uid)
    content = archive(version)
    response = StreamingHttpResponse(content, content_type="application/zip")
    response["Content-Length"] = str(len(content))
    return as_file(response, f"{folder_name(version)}.zip")


@require_POST
@login_required
def delete_version(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Deletes a version and leads to its model, or to the list if it was the last one."""
    versions = ModelVersion.objects.select_related("model__workspace", "base_model")
    version = get_writable(versions, request.user, "model__workspace", uid=uid)
    success = _("%(version)s was deleted.") % {"version": version}
    if not delete(request, deletion.delete_version, version, success):
        return redirect("models:version", uid=uid)
    if Model.objects.filter(pk=version.model_id).exists():
        return redirect("models:detail", uid=version.model.uid)
    return redirect("models:list")


@require_POST
@login_required
def delete_model(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Deletes a model with all of its versions and leads to the list."""
    model = get_writable(Model.objects.select_related("workspace"), request.user, uid=uid)
    success = _("%(model)s was deleted.") % {"model": model.name}
    if not delete(request, deletion.delete_model, model, success):
        return redirect("models:detail", uid=uid)
    return redirect("models:list")


def _model_card(version: ModelVersion) -> str:
    """The text of the version's README.md, without the head that is for hubs; empty if there is none."""
    if not any(item["name"] == "README.md" and item["size"] <= MOST_CARD_BYTES for item in version.files):
        return ""
    try:
        with default_storage.open(f"{version.path}/README.md") as file:
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    _head, separator, rest = text.removeprefix("---\n").partition("\n---\n")
    return (rest if separator and text.startswith("---\n") else text).strip()


def _local_directory(version: ModelVersion) -> str:
    """Where the files lie if the storage is a directory; empty for an object storage."""
    return str(on_disk(version.path) or "") if version.path else ""
