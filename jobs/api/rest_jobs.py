"""Jobs through the own API: list, create with a first run, look at, further runs, delete; and a look at a
configuration that starts nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from django.http import HttpResponse
from ninja import Query, Router
from pydantic import BaseModel, Field

from catalog.models import ModelType
from console.rest.answers import After, Limit, answer, cut, find, nothing
from console.rest.authentication import ADMIN, READ, WRITE, ApiRequest
from console.rest.errors import CHANGING, COMMON, WITH_OBJECT, Error, FieldError
from jobs import deletion
from jobs.api.rest_answers import (
    JobOut,
    JobPageOut,
    JobRowOut,
    RunOut,
    RunPageOut,
    job_fields,
    run_brief,
    run_out,
)
from jobs.api.rest_configuration import ConfigurationIn, complaints, form_of, start
from jobs.listing import JobQuery, job_page
from jobs.models import Job, Run, RunState
from jobs.summary import summarize

router = Router(tags=["Jobs"])
RELATED = ("job", "base_model", "pool", "created_by", "model_version")
# What a list reads of a run, which has sixty columns and large ones.
LISTED = (
    *(
        "uid",
        "version",
        "method",
        "state",
        "stop_requested_at",
        "paused_at",
        "phase",
        "step",
        "total_steps",
        "epoch",
    ),
    *("eta_seconds", "created_at", "started_at", "finished_at", "devices", "idle", "priority", "failure"),
    *("publication", "metadata", "job__uid", "job__name", "base_model__name", "pool__queue"),
    *("created_by__username", "model_version__uid"),
)


class MixLineOut(BaseModel):
    kind: str = Field(description="source, corpus or base_run")
    label: str
    rows: int = Field(description="After sampling")
    share: float = Field(description="Percent of all characters")


class EstimateOut(BaseModel):
    amount: int | None = Field(
        description="Tokens over all epochs (samples of a text-to-image run); null: unknown"
    )
    is_samples: bool
    hours: Decimal | None
    price: Decimal | None
    price_of_device_hour: Decimal | None


class CheckOut(BaseModel):
    valid: bool = Field(description="Whether POST /jobs would start it")
    problems: list[FieldError]
    rows: int = Field(description="What the rule about the least number of rows counts")
    training_rows: int | None
    test_rows: int | None
    mix: list[MixLineOut]
    estimate: EstimateOut | None
    waits_because: str | None = Field(description="Why it would have to wait for the workspace's limits")


class JobDetail(JobOut):
    runs: int


State = Literal["Waiting", "Running", "Done", "Failed", "Stopped"]
Type = Literal["text2text", "text2image", "imageUnderstanding"]
Sort = Literal["created", "-created", "name", "-name"]


def _job(request: ApiRequest, uid: str) -> Job:
    return find(Job.objects.select_related("workspace", "created_by"), request.auth, uid=uid)


@router.get("/jobs", auth=READ, response=COMMON | {200: JobPageOut, 422: Error}, summary="Jobs")
def list_jobs(
    request: ApiRequest,
    q: Annotated[str, Query(max_length=100, description="Part of the name")] = "",
    state: Annotated[State | None, Query(description="Of the newest run")] = None,
    type: Annotated[Type | None, Query()] = None,
    model: Annotated[str, Query(max_length=100, description="Key of a family of base models")] = "",
    owner: Annotated[str, Query(max_length=150, description="Who created it")] = "",
    sort: Annotated[Sort, Query()] = "-created",
    after: After = "",
    limit: Limit = 20,
) -> HttpResponse:
    """With the newest run of each, as the page shows them. A cursor that is gone begins anew."""
    asked = {"q": q, "model": model, "owner": owner, "before": after}
    query = JobQuery(
        **{name: text.replace("\0", "").strip() for name, text in asked.items()},
        state=state or "",
        type=type or "",
        sort=sort,
    )
    page = job_page(request.auth.workspace, query, limit)
    items = [
        JobRowOut(**job_fields(row.job), runs=row.run_count, run=run_brief(row.run) if row.run else None)
        for row in page.rows
    ]
    return answer(request, JobPageOut(items=items, next=page.next or None))


@router.post("/jobs", auth=WRITE, response=CHANGING | {201: RunOut}, summary="A job with its first run")
def create_job(request: ApiRequest, given: ConfigurationIn) -> HttpResponse:
    """Starts training, under the rules of the wizard."""
    caller = request.auth
    run = start(given, caller.workspace, caller.user, None)
    return answer(request, _run_out(run), 201)


@router.post(
    "/configurations/check",
    auth=WRITE,
    response=CHANGING | {200: CheckOut},
    summary="What a run would come to",
)
def check(
    request: ApiRequest,
    given: ConfigurationIn,
    job: Annotated[str, Query(max_length=100, description="job-… whose next run it would be")] = "",
) -> HttpResponse:
    """Everything that stands against a configuration, its mix, its length and its price. Starts nothing."""
    form = form_of(given, request.auth.workspace, _job(request, job) if job else None)
    problems = complaints(form, given)
    summary = summarize(form)
    cost = summary.estimate
    checked = CheckOut(
        valid=not problems,
        problems=problems,
        rows=summary.rows,
        training_rows=summary.training,
        test_rows=summary.testing,
        mix=[
            MixLineOut(kind=line.kind, label=line.label, rows=line.rows, share=line.share)
            for line in summary.lines
        ],
        estimate=EstimateOut(
            amount=cost.amount,
            is_samples=cost.is_samples,
            hours=cost.hours,
            price=cost.price,
            price_of_device_hour=cost.rate,
        )
        if cost
        else None,
        waits_because=summary.waits_because,
    )
    return answer(request, checked)


@router.get("/jobs/{uid}", auth=READ, response=WITH_OBJECT | {200: JobDetail}, summary="One job")
def job(request: ApiRequest, uid: str) -> HttpResponse:
    found = _job(request, uid)
    return answer(request, JobDetail(**job_fields(found), runs=found.runs.count()))


@router.delete(
    "/jobs/{uid}", auth=ADMIN, response=CHANGING | {204: None}, summary="Delete a job with its runs"
)
def delete_job(request: ApiRequest, uid: str) -> HttpResponse:
    """Files are removed in the background; published models stay."""
    deletion.delete_job(_job(request, uid), request.auth.user)
    return nothing()


@router.get(
    "/jobs/{uid}/runs", auth=READ, response=WITH_OBJECT | {200: RunPageOut, 422: Error}, summary="Its runs"
)
def runs_of_job(request: ApiRequest, uid: str, after: After = "", limit: Limit = 20) -> HttpResponse:
    found = _job(request, uid)
    runs, following = cut(found.runs.select_related(*RELATED).only(*LISTED), after, limit)
    return answer(request, RunPageOut(items=[run_out(run, found) for run in runs], next=following))


@router.post("/jobs/{uid}/runs", auth=WRITE, response=CHANGING | {201: RunOut}, summary="A further run")
def create_run(request: ApiRequest, uid: str, given: ConfigurationIn) -> HttpResponse:
    """Name, type and description are those of the job."""
    caller = request.auth
    run = start(given, caller.workspace, caller.user, _job(request, uid))
    return answer(request, _run_out(run), 201)


@router.get("/runs", auth=READ, response=COMMON | {200: RunPageOut, 422: Error}, summary="Runs of all jobs")
def list_runs(
    request: ApiRequest,
    state: Annotated[State | None, Query()] = None,
    type: Annotated[Type | None, Query()] = None,
    after: After = "",
    limit: Limit = 20,
) -> HttpResponse:
    found = Run.objects.filter(job__workspace=request.auth.workspace)
    found = found.select_related(*RELATED).only(*LISTED)
    if state:
        found = found.filter(state=RunState(state))
    if type:
        found = found.filter(job__model_type=ModelType(type))
    runs, following = cut(found, after, limit)
    return answer(request, RunPageOut(items=[run_out(run) for run in runs], next=following))


def _run_out(run: Run) -> RunOut:
    return run_out(Run.objects.select_related(*RELATED).get(pk=run.pk))
