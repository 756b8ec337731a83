"""Datasets renamed, described, deleted; versions started from others, deleted."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from console.access import get_writable
from console.deletion_pages import delete
from console.htmx import HtmxHttpRequest
from datasets import deletion, publishing
from datasets.forms import SettingsForm
from datasets.lineage import lineage_of
from datasets.models import Dataset
from datasets.views.common import go, tab_context, writable_version


@require_http_methods(["GET", "POST"])
@login_required
def settings(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Name and description of a dataset, and its deletion with what that takes along."""
    dataset = get_writable(Dataset.objects.select_related("workspace"), request.user, uid=uid)
    form = SettingsForm(request.POST or None, instance=dataset)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect("datasets:detail", uid=uid)
    if form.errors:
        # An invalid form has changed the object that the page's header shows.
        dataset = Dataset.objects.select_related("workspace").get(pk=dataset.pk)
    context = {
        "nav": "datasets",
        "dataset": dataset,
        "form": form,
        "loss": deletion.loss_of(dataset),
        "obstacles": deletion.obstacles_of(dataset, request.user),
    }
    return render(request, "datasets/settings.html", context, status=422 if form.errors else 200)


@require_POST
@login_required
def delete_dataset(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Deletes a dataset with all of its versions and leads to the list."""
    dataset = get_writable(Dataset.objects.select_related("workspace"), request.user, uid=uid)
    success = _("%(dataset)s was deleted.") % {"dataset": dataset.name}
    if not delete(request, deletion.delete_dataset, dataset, success):
        return redirect("datasets:settings", uid=uid)
    return redirect("datasets:list")


@require_http_methods(["GET", "POST"])
@login_required
def delete_version(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """What goes with a version and what still needs it; POST deletes it and leads to its dataset."""
    version = writable_version(request, uid)
    if request.method == "POST":
        success = _("%(version)s was deleted.") % {"version": version}
        if not delete(request, deletion.delete_version, version, success):
            return redirect("datasets:delete_version", uid=uid)
        return redirect("datasets:detail", uid=version.dataset.uid)
    context = tab_context(request, version, "") | {"lineage": lineage_of(version, request.user)}
    return render(request, "datasets/delete_version.html", context)


@require_POST
@login_required
def start_from(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The next version of the dataset, with a copy of this one's rows to be changed."""
    version = writable_version(request, uid)
    try:
        made = publishing.new_version_from(version, request.user)
    except publishing.NotAllowed as reason:
        messages.error(request, str(reason))
        return go(request, version)
    messages.success(
        request, _("Started from %(label)s. Change its rows, then publish it.") % {"label": version.label}
    )
    return go(request, made)
