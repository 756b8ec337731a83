"""The page on which a workspace's owner says where metrics go besides the console."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from console.access import current_membership
from console.htmx import HtmxHttpRequest
from console.models import Role
from jobs.tracking import due, sending, tensorboard
from jobs.tracking.forms import TrackingForm
from jobs.tracking.models import Target, Tracking

SHOWN_PROBLEMS = 10


@require_http_methods(["GET", "POST"])
@login_required
def tracking(request: HtmxHttpRequest) -> HttpResponse:
    """Owners change it; the others see what is on and what went wrong."""
    membership = current_membership(request)
    workspace, is_owner = membership.workspace, membership.role == Role.OWNER
    present = Tracking.objects.filter(workspace=workspace).first() or Tracking(workspace=workspace)
    if request.method == "POST" and not is_owner:
        raise PermissionDenied(_("Only owners of the workspace may change this."))
    form = TrackingForm(request.POST or None, instance=present)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved. Runs that start from now on are sent."))
        return redirect("tracking")
    context = {
        "form": form,
        "tracking": present,
        "is_owner": is_owner,
        "directory": tensorboard.directory_of(workspace),
        "missing": [target.label for target in Target if not sending.is_installed(target)],
        "problems": due.problems(present)[:SHOWN_PROBLEMS],
    }
    return render(request, "jobs/tracking.html", context, status=422 if form.errors else 200)
