"""Keeping and discarding what is typed into the form of a run (jobs/drafts.py)."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from console.access import get_writable, writable_workspace
from console.htmx import HtmxHttpRequest
from console.models import Workspace
from jobs import drafts
from jobs.models import Job


@require_POST
@login_required
def save_draft(request: HtmxHttpRequest) -> HttpResponse:
    """Keeps the form as it stands; `?job=…` where it is about a job's next run. `left` is part of what a page
    sends last: "unchanged" (and no form with it) where everything is saved already."""
    workspace, job = _place(request)
    key = drafts.key_of(request.POST)
    if request.POST.get("left") == "unchanged":
        drafts.leave(request.user, key)
        return HttpResponse(status=204)
    draft = drafts.save(request.user, workspace, job, request.POST, key)
    return render(request, "jobs/_draft_state.html", {"draft": draft, "is_too_long": draft is None})


@require_POST
@login_required
def discard_draft(request: HtmxHttpRequest) -> HttpResponseRedirect:
    """Forgets the draft of the key `?draft=…` and opens an empty form, or goes back to the list of
    jobs with `?back=list`."""
    _workspace, job = _place(request)
    drafts.discard(request.user, request.GET.get("draft", ""))
    if request.GET.get("back") == "list":
        return redirect("jobs:list")
    address = reverse("jobs:new_run", args=[job.uid]) if job else reverse("jobs:create")
    return redirect(f"{address}?new=1")


def _place(request: HtmxHttpRequest) -> tuple[Workspace, Job | None]:
    """Where the draft belongs: the job of the address, or a new job in the current workspace."""
    if "job" not in request.GET:
        return writable_workspace(request), None
    job = get_writable(Job.objects.select_related("workspace"), request.user, uid=request.GET["job"])
    return job.workspace, job
