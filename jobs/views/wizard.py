"""创建训练作业 and 新建任务: one page, and the parts of it that follow from what is chosen."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_POST

from catalog.models import Model
from console.access import get_writable, writable_workspace
from console.htmx import HtmxHttpRequest
from console.models import Workspace
from jobs import drafts
from jobs.configuration import ConfigurationRefused, submit
from jobs.forms import RunForm
from jobs.models import Job
from jobs.opening import open_form
from jobs.summary import summarize

# The parts that htmx asks for, by the id of the element that they fill.
PARTS = {
    "training-config": "jobs/_training_config.html",
    "source-list": "jobs/_source_list.html",
    "corpus-config": "jobs/_corpus.html",
    "test-set": "jobs/_test_set.html",
    "resource-fields": "jobs/_resources.html",
    "publishing": "jobs/_publishing.html",
    "summary": "jobs/_summary.html",
}
# Back asks for the page again instead of showing it as it once opened: the draft has what was typed since.
NOT_STORED = cache_control(no_store=True)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@NOT_STORED
def create(request: HtmxHttpRequest) -> HttpResponse:
    """A new job with its first run. Any field may come in the address: `?base_model=ERNIE-Speed-8K`,
    `?source=ds-…` open the page with these chosen, `?run=task-…` fills it in like that run."""
    return _wizard(request, writable_workspace(request), None)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@NOT_STORED
def new_run(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The next run of a job, prefilled from the latest, or from `?run=task-…`."""
    job = _writable_job(request, uid)
    return _wizard(request, job.workspace, job)


@require_POST
@login_required
def panel(request: HtmxHttpRequest) -> HttpResponse:
    """One part of the page for the form as it stands; `?job=…` where it is about a job's next run."""
    job = _writable_job(request, request.GET["job"]) if "job" in request.GET else None
    workspace = job.workspace if job else writable_workspace(request)
    part = request.htmx.target if request.htmx.target in PARTS else "training-config"
    form = RunForm(workspace, job, request.POST)
    context: dict[str, Any] = {"form": form, "job": job, "part": part, "template": PARTS[part]}
    if part == "summary":
        context["summary"] = summarize(form)
    elif part == "publishing":
        context["model_names"] = _model_names(workspace, form)
    return render(request, "jobs/_panel.html", context)


def _wizard(request: HtmxHttpRequest, workspace: Workspace, job: Job | None) -> HttpResponse:
    """Shows the form, or takes it. The buttons `update` and `reset` (without JavaScript) and `paste` send it
    just to be shown anew."""
    submitted = request.method == "POST" and not {"update", "reset", "paste"} & set(request.POST)
    opening = open_form(request, request.user, workspace, job)
    form = RunForm(workspace, job, opening.typed, submitted=submitted)
    if submitted and form.is_valid():
        try:
            run = submit(workspace, request.user, form.configuration)  # type: ignore[arg-type]
        except ConfigurationRefused as refused:  # something changed since the check, such as a name taken
            form.complain(refused.problems)
        else:
            drafts.discard(request.user, opening.key)
            return redirect("jobs:run", run.uid)
    draft = opening.draft
    if request.method == "POST":
        draft = drafts.save(request.user, workspace, job, opening.typed, opening.key)
    context = {
        "form": form,
        "job": job,
        "opening": opening,
        "draft": draft,
        "nav": "jobs",
        "summary": summarize(form),
        "model_names": _model_names(workspace, form),
    }
    return render(request, "jobs/wizard.html", context, status=422 if submitted else 200)


def _writable_job(request: HtmxHttpRequest, uid: str) -> Job:
    return get_writable(Job.objects.select_related("workspace"), request.user, uid=uid)  # type: ignore[arg-type]


def _model_names(workspace: Workspace, form: RunForm) -> list[str]:
    """Models of the workspace that could get a further version from this run."""
    models = Model.objects.filter(workspace=workspace, model_type=form.choice.model_type)
    return list(models.order_by("name").values_list("name", flat=True))
