"""OpenAI's `fine_tuning.jobs`: create, list, retrieve, cancel, pause, resume, events, checkpoints."""

from __future__ import annotations

from typing import Any

from django.db.models import F, Prefetch, QuerySet
from django.http import HttpRequest

from console.api.errors import conflict, not_found
from console.api.json_bodies import read_object
from console.api.keys import Caller
from console.api.openai import Endpoint, cut, listed, number_after
from console.models import Scope
from jobs import lifecycle
from jobs.api.openai_answers import describe_checkpoint, describe_event, describe_jobs, status
from jobs.api.openai_request import CreateJob, configuration_of, refusal
from jobs.configuration import ConfigurationRefused, submit
from jobs.models import Run, RunSource

# What is told of a run, which has sixty columns and large ones; so have the versions of data.
_RELATED = ("job", "base_model", "test_version", "model_version__model", "model_version__base_model")
_TOLD = (
    *("uid", "method", "state", "created_at", "finished_at", "eta_seconds", "epoch", "paused_at"),
    *("hyperparameters", "resolved", "failure", "metadata", "publication", "publish_name"),
    *("job__workspace", "base_model__name", "test_version__uid", "model_version__uid"),
    *("model_version__model__name", "model_version__base_model__name"),
)


def _runs(caller: Caller) -> QuerySet[Run]:
    sources = RunSource.objects.select_related("version").only("run", "version__uid")
    found = Run.objects.filter(job__workspace=caller.workspace).select_related(*_RELATED).only(*_TOLD)
    found = found.annotate(
        tokens_an_epoch=F("summary__data__trained_tokens"), whole_epochs=F("summary__epochs")
    )
    return found.prefetch_related(Prefetch("sources", sources))


def _uid(given: str) -> str:
    return "task-" + given.removeprefix("ftjob-") if given.startswith("ftjob-") else given


def _run(caller: Caller, given: str) -> Run:
    found = _runs(caller).filter(uid=_uid(given)).first()
    if found is None:
        raise not_found(f"There is no fine-tuning job {given!r} in this workspace.", "fine_tuning_job_id")
    return found


def create(caller: Caller, request: HttpRequest) -> dict[str, Any]:
    configuration = configuration_of(caller, read_object(request.body, CreateJob))
    try:
        run = submit(caller.workspace, caller.user, configuration)
    except ConfigurationRefused as refused:
        raise refusal(refused.problems) from refused
    return describe_jobs([_runs(caller).get(pk=run.pk)])[0]


def list_jobs(caller: Caller, request: HttpRequest) -> dict[str, Any]:
    found = _runs(caller)
    for name, value in request.GET.items():
        if name.startswith("metadata[") and name.endswith("]"):
            found = found.filter(metadata__contains={name[len("metadata[") : -1]: value})

    def key(given: str) -> int | None:
        return found.filter(uid=_uid(given)).values_list("pk", flat=True).first()

    runs, has_more = cut(request, found, key, limit=20, most=100)
    return listed(describe_jobs(runs), has_more=has_more)


def retrieve(caller: Caller, request: HttpRequest, job: str) -> dict[str, Any]:
    return describe_jobs([_run(caller, job)])[0]


def cancel(caller: Caller, request: HttpRequest, job: str) -> dict[str, Any]:
    """Stops the run; one that is being stopped already is no error, one that is over is."""
    run = _run(caller, job)
    if not lifecycle.request_stop(run, caller.user):
        run.refresh_from_db()
        if run.is_terminal:
            raise conflict(f"This job is over already ({status(run)}).", "fine_tuning_job_id")
    return describe_jobs([_run(caller, job)])[0]


def pause(caller: Caller, request: HttpRequest, job: str) -> dict[str, Any]:
    """Has the run save and rest; the status is "running" until it has saved. Asking twice is no error."""
    run = _run(caller, job)
    if not lifecycle.request_pause(run, caller.user):
        run.refresh_from_db()
        if run.paused_at is None:
            raise conflict(f"This job cannot be paused any more ({status(run)}).", "fine_tuning_job_id")
    return describe_jobs([_run(caller, job)])[0]


def resume(caller: Caller, request: HttpRequest, job: str) -> dict[str, Any]:
    run = _run(caller, job)
    if not lifecycle.resume(run, caller.user):
        raise conflict(f"This job is not paused ({status(run)}).", "fine_tuning_job_id")
    return describe_jobs([_run(caller, job)])[0]


def events(caller: Caller, request: HttpRequest, job: str) -> dict[str, Any]:
    run = _run(caller, job)
    entries, has_more = cut(request, run.timeline.all(), number_after("ftevent-"), limit=20, most=100)
    return listed([describe_event(entry) for entry in entries], has_more=has_more)


def checkpoints(caller: Caller, request: HttpRequest, job: str) -> dict[str, Any]:
    run = _run(caller, job)
    saved, has_more = cut(request, run.checkpoints.all(), number_after("ftckpt-"), limit=10, most=100)
    return listed([describe_checkpoint(run, checkpoint) for checkpoint in saved], has_more=has_more)


JOBS = {"get": Endpoint(list_jobs), "post": Endpoint(create, Scope.WRITE)}
ONE_JOB = {"get": Endpoint(retrieve)}
CANCEL = {"post": Endpoint(cancel, Scope.WRITE)}
PAUSE = {"post": Endpoint(pause, Scope.WRITE)}
RESUME = {"post": Endpoint(resume, Scope.WRITE)}
EVENTS = {"get": Endpoint(events)}
CHECKPOINTS = {"get": Endpoint(checkpoints)}
