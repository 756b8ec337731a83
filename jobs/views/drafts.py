"""Keeping and discarding what is typed into the form of a run (jobs/drafts.py)."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from console.access import get_writable, writable_workspace
from console.htmx import HtmxHttpRequest
from console.models import Workspace
from jobs import drafts
from jobs.models import Job


@require_POST
@login_required
def save_draft(request: HtmxHttpRequest) -> HttpResponse:
    """Keeps the form as it stands; `?job=…` where it is about a job's next run."""
    workspace, job = _place(request)
    draft = drafts.save(request.user, workspace, job, request.POST)
    return render(request, "jobs/_draft_state.html", {"draft": draft, "is_too_long": draft is None})


@require_POST
@login_required
def discard_draft(request: HtmxHttpRequest) -> HttpResponseRedirect:
    """Forgets a draft and opens the form anew, or goes back to the list of jobs with `?back=list`."""
    workspace, job = _place(request)
    drafts.discard(request.user, workspace, job)
    if request.GET.get("back") == "list":
        return redirect("jobs:list")
    return redirect("jobs:new_run", job.uid) if job else redirect("jobs:create")


def _place(request: HtmxHttpRequest) -> tuple[Workspace, Job | None]:
    """Where the draft belongs: the job of the address, or a new job in the current workspace."""
    if "job" not in request.GET:
        return writable_workspace(request), None
    job = get_writable(Job.objects.select_related("workspace"), request.user, uid=request.GET["job"])
    return job.workspace, job
