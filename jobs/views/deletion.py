"""Deleting a run or a whole job from its page."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from console.access import get_writable
from console.deletion_pages import delete
from console.htmx import HtmxHttpRequest
from jobs import deletion
from jobs.models import Job, Run


@require_POST
@login_required
def delete_run(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Deletes the run and leads to its job; says why where it cannot go."""
    runs = Run.objects.select_related("job__workspace", "model_version")
    run = get_writable(runs, request.user, "job__workspace", uid=uid)
    if not delete(request, deletion.delete_run, run, _("%(run)s was deleted.") % {"run": run}):
        return redirect("jobs:run", uid=uid)
    return redirect("jobs:detail", uid=run.job.uid)


@require_POST
@login_required
def delete_job(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Deletes the job with its runs and leads to the list."""
    job = get_writable(Job.objects.select_related("workspace"), request.user, uid=uid)
    if not delete(request, deletion.delete_job, job, _("%(job)s was deleted.") % {"job": job.name}):
        return redirect("jobs:detail", uid=uid)
    return redirect("jobs:list")
