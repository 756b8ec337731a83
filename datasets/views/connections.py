"""Connections to object storage: their list, their form, what lies behind them, what is taken from there."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.db.models import ProtectedError
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect

from console.access import current_membership, get_writable, writable_workspace
from console.htmx import HtmxHttpRequest, wants_fragment
from datasets import connections, locations, objects, publishing
from datasets.connections import PRESETS, ConnectionFailed
from datasets.forms_connections import ConnectionForm
from datasets.models import Connection, DatasetVersion
from datasets.views.common import go, writable_version


@require_GET
@login_required
def connection_list(request: HtmxHttpRequest) -> HttpResponse:
    """The workspace's connections; people who only read see no keys."""
    membership = current_membership(request)
    found = Connection.objects.filter(workspace=membership.workspace).select_related("created_by")
    context = {"nav": "datasets", "connections": found, "may_write": membership.can_write, "presets": PRESETS}
    return render(request, "datasets/connections/list.html", context)


@require_http_methods(["GET", "POST"])
@login_required
def create_connection(request: HtmxHttpRequest) -> HttpResponse:
    """A new connection; `?preset=bos` fills in what is known of a provider."""
    instance = Connection(created_by=request.user)
    preset = next((item for item in PRESETS if item.key == request.GET.get("preset")), PRESETS[0])
    initial = {"endpoint": preset.endpoint, "region": preset.region, "addressing": preset.addressing}
    form = ConnectionForm(
        request.POST or None, instance=instance, initial=initial, workspace=writable_workspace(request)
    )
    return _edited(request, form, {"presets": PRESETS, "preset": preset})


@require_http_methods(["GET", "POST"])
@login_required
def edit_connection(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Changes a connection; its secret key stays unless another is typed."""
    connection = _writable(request, uid)
    form = ConnectionForm(request.POST or None, instance=connection, workspace=connection.workspace)
    return _edited(request, form, {"connection": connection, "uses": connection.locations.count()})


def _edited(request: HtmxHttpRequest, form: ConnectionForm, context: dict[str, Any]) -> HttpResponse:
    """Saves a valid form, shows any other."""
    if request.method == "POST" and form.is_valid():
        try:
            form.save()
        except IntegrityError:
            form.add_error("name", _("This workspace already has a connection of that name."))
        else:
            messages.success(request, _("The connection works and is saved."))
            return redirect("datasets:connections")
    status = 422 if form.errors else 200
    return render(
        request,
        "datasets/connections/form.html",
        {"nav": "datasets", "form": form} | context,
        status=status,
    )


@require_POST
@login_required
def delete_connection(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Deletes a connection that nothing uses."""
    connection = _writable(request, uid)
    try:
        if objects.waits_for(connection):
            raise ProtectedError("", set())
        connection.delete()
    except ProtectedError:
        text = _("%(name)s is in use: dataset versions read their rows through it, or an import does.")
        messages.error(request, text % {"name": connection})
    else:
        messages.success(request, _("%(name)s is deleted.") % {"name": connection})
    return redirect("datasets:connections")


# --- Looking around ------------------------------------------------------------------------------------------


@require_GET
@login_required
def browse(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """A folder of a bucket, or the buckets. `?version=…` is what objects are imported into; without it a folder
    is chosen to be used in place. `?token=…` is the continuation of a folder."""
    connection = _writable(request, uid)
    version = _target(request, connection, request.GET.get("version", ""))
    bucket = connection.bucket or request.GET.get("bucket", "")
    folder, token = request.GET.get("folder", ""), request.GET.get("token", "")
    context: dict[str, Any] = _shown(request, connection, version, bucket, folder)
    try:
        if bucket:
            context["page"] = connections.page_of(connection, bucket, folder, token)
        else:
            context["buckets"] = connections.buckets_of(connection)
    except ConnectionFailed as failed:
        context["problem"] = failed.message
    return _browser(request, context, is_continued=bool(token))


def _shown(
    request: HtmxHttpRequest, connection: Connection, version: DatasetVersion | None, bucket: str, folder: str
) -> dict[str, Any]:
    """What templates/datasets/connections/_browser.html needs besides what is found."""
    steps, path = [], ""
    for name in folder.rstrip("/").split("/") if folder else ():
        path += f"{name}/"
        steps.append((name, path))
    return {
        "nav": "datasets",
        "connection": connection,
        "version": version,
        "bucket": bucket,
        "folder": folder,
        "steps": steps,
        "in_wizard": request.GET.get("wizard") or request.POST.get("wizard", ""),
        "has_rows_folder": f"{locations.ROWS_FOLDER}/",
    }


def _browser(request: HtmxHttpRequest, context: dict[str, Any], *, is_continued: bool) -> HttpResponse:
    status = 422 if context.get("errors") else 200
    if not wants_fragment(request):
        return render(request, "datasets/connections/browse.html", context, status=status)
    template = "_browser_rows" if is_continued and "page" in context else "_browser"
    return render(request, f"datasets/connections/{template}.html", context, status=status)


@require_GET
@login_required
def choose(request: HtmxHttpRequest) -> HttpResponse:
    """Which connection to look around in; straight on where there is but one. Query as for `browse`."""
    uid = request.GET.get("version", "")
    version = writable_version(request, uid) if uid else None
    workspace = version.dataset.workspace if version else writable_workspace(request)
    found = list(Connection.objects.filter(workspace=workspace))
    if len(found) == 1:
        address = reverse("datasets:browse", args=[found[0].uid])
        return redirect(f"{address}?{request.GET.urlencode()}")
    context = {"nav": "datasets", "connections": found, "version": version, "query": request.GET.urlencode()}
    name = "_choose" if wants_fragment(request) else "choose"
    return render(request, f"datasets/connections/{name}.html", context)


# --- Taking --------------------------------------------------------------------------------------------------


@require_POST
@login_required
def import_objects(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Imports the chosen objects, or all below a folder, into a version that is not published."""
    connection = _writable(request, uid)
    version = _target(request, connection, request.POST.get("version", ""))
    if version is None:
        raise Http404(_("There is no such dataset version."))
    bucket, folder = connection.bucket or request.POST.get("bucket", ""), request.POST.get("folder", "")
    keys = None if "all" in request.POST else request.POST.getlist("key")
    try:
        objects.import_from(version, connection, bucket, folder, keys)
        return go(request, version)
    except publishing.NotAllowed as error:
        messages.error(request, str(error))
        return go(request, version)
    except ConnectionFailed as failed:
        errors = [failed.message]
    except ValidationError as error:
        errors = error.messages
    return _refused(request, connection, version, bucket, folder, errors)


@require_POST
@login_required
def use_in_place(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Makes a folder a dataset version whose rows stay where they are, and has them counted."""
    connection = _writable(request, uid)
    bucket, folder = connection.bucket or request.POST.get("bucket", ""), request.POST.get("folder", "")
    try:
        version = locations.create(connection, request.user, bucket, folder)
    except ConnectionFailed as failed:
        return _refused(request, connection, None, bucket, folder, [failed.message])
    if request.POST.get("wizard") and wants_fragment(request):
        context = {"version": version, "in_wizard": request.POST["wizard"]}
        return render(request, "datasets/connections/_used.html", context)
    return go(request, version)


def _refused(
    request: HtmxHttpRequest,
    connection: Connection,
    version: DatasetVersion | None,
    bucket: str,
    folder: str,
    errors: list[str],
) -> HttpResponse:
    """The folder again, with what is wrong over it."""
    context = _shown(request, connection, version, bucket, folder) | {"errors": errors}
    try:
        context["page"] = connections.page_of(connection, bucket, folder)
    except ConnectionFailed as failed:
        context["problem"] = failed.message
    return _browser(request, context, is_continued=False)


@require_POST
@login_required
def count_again(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Counts the rows of a version used in place once more: into a new version where this one is published."""
    version = writable_version(request, uid)
    try:
        counted = locations.count_again(version, request.user)
    except publishing.NotAllowed as error:
        messages.error(request, str(error))
        counted = version
    address = reverse("datasets:version", args=[counted.uid])
    return HttpResponseClientRedirect(address) if wants_fragment(request) else redirect(address)


def _writable(request: HtmxHttpRequest, uid: str) -> Connection:
    return get_writable(Connection.objects.select_related("workspace"), request.user, uid=uid)


def _target(request: HtmxHttpRequest, connection: Connection, uid: str) -> DatasetVersion | None:
    """The version that is imported into, which must be of the connection's workspace; None without one."""
    if not uid:
        return None
    version = writable_version(request, uid)
    if version.dataset.workspace_id != connection.workspace_id:
        raise Http404(_("There is no such dataset version."))
    return version
