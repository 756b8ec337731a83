"""One run through the own API: what it is, what it reports, and what may be done with it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from django.http import FileResponse, Http404, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from catalog.models import Model
from console.downloads import as_file
from console.rest.answers import answer, find, nothing
from console.rest.authentication import ADMIN, READ, WRITE, ApiRequest
from console.rest.errors import CHANGING, WITH_OBJECT, Error, conflict, file_of, invalid
from jobs import deletion, lifecycle, portable, priorities, publishing
from jobs.api.rest_answers import RunOut, run_out
from jobs.api.rest_configuration import repeat
from jobs.api.rest_jobs import RELATED
from jobs.curves import curves
from jobs.estimate import comparison
from jobs.log_tail import log_path, read_log
from jobs.messages import timeline_text
from jobs.models import Priority, Run, RunState
from jobs.presentation import latest_metrics
from jobs.queueing import place
from jobs.run_mix import data_rows

router = Router(tags=["Runs"])


class Value(BaseModel):
    value: Any
    origin: str = Field(description="offer, user, base_run or trainer")


class DataRowOut(BaseModel):
    version: str | None = Field(description="ds-…, where it is one of the workspace")
    label: str
    trained: int
    held_out: int


class CostOut(BaseModel):
    """What was estimated, and what it has come to so far; null is unknown."""

    estimated_amount: int | None
    amount: int | None = Field(description="Tokens, or samples of a text-to-image run")
    estimated_hours: Decimal | None
    hours: Decimal | None
    estimated_price: Decimal | None
    price: Decimal | None
    currency: str


class PlaceOut(BaseModel):
    number: int = Field(description="1 is next")
    starts_at: datetime | None = Field(description="Where it can be foreseen")
    limit: str | None = Field(description="Why the workspace may start nothing now")


class RunDetail(RunOut):
    hyperparameters: dict[str, Any] = Field(description="As they were asked for")
    resolved: dict[str, Value] = Field(description="In effect, once the trainer has begun")
    data: list[DataRowOut]
    latest: dict[str, float | None] = Field(description="The newest values of some metrics")
    cost: CostOut
    place: PlaceOut | None = Field(description="In the queue, while it waits")


class SeriesOut(BaseModel):
    key: str
    label: str
    points: list[tuple[int, float]] = Field(description="[step, value]")


class MetricsOut(BaseModel):
    series: list[SeriesOut]
    cursor: int = Field(description="Goes back as `after` for what is newer")
    active: bool = Field(description="Whether more may come")


class LogOut(BaseModel):
    text: str
    start: int = Field(description="Byte at which the text begins")
    end: int = Field(description="Byte behind it; goes back as `after`")
    size: int = Field(description="Bytes of the whole log")


class CheckpointOut(BaseModel):
    step: int
    size: int
    loss: float | None
    eval_loss: float | None
    created_at: datetime


class CheckpointsOut(BaseModel):
    items: list[CheckpointOut]


class TimelineItem(BaseModel):
    at: datetime
    kind: str
    text: str
    actor: str | None
    data: dict[str, Any]


class TimelineOut(BaseModel):
    items: list[TimelineItem]


class PriorityIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    priority: Literal["high", "normal", "low"]


class PublishIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model_name: str = Field(description="Of a model that gets its next version, or of a new one")


class PublishedOut(BaseModel):
    model: str = Field(description="am-…")
    model_version: str = Field(description="amv-…; ready once its files are copied")


def _run(request: ApiRequest, uid: str, *related: str) -> Run:
    runs = Run.objects.select_related("job__workspace", *RELATED, *related)
    return find(runs, request.auth, "job__workspace", uid=uid)


@router.get("/runs/{uid}", auth=READ, response=WITH_OBJECT | {200: RunDetail}, summary="One run")
def run(request: ApiRequest, uid: str) -> HttpResponse:
    found = _run(request, uid, "test_version__dataset", "corpus__version")
    cost = comparison(found)
    waits = place(found) if found.state == RunState.WAITING and not found.is_paused else None
    detail = RunDetail(
        **dict(run_out(found)),
        hyperparameters=found.hyperparameters,
        resolved=found.resolved,
        data=[
            DataRowOut(version=row.uid or None, label=row.label, trained=row.trained, held_out=row.held_out)
            for row in data_rows(found)
        ],
        latest=latest_metrics(found),
        cost=CostOut(
            estimated_amount=cost.estimated_amount,
            amount=cost.amount,
            estimated_hours=cost.estimated_hours,
            hours=cost.hours,
            estimated_price=cost.estimated_price,
            price=cost.price,
            currency=cost.currency,
        ),
        place=PlaceOut(number=waits.number, starts_at=waits.starts_at, limit=waits.limit or None)
        if waits
        else None,
    )
    return answer(request, detail)


class ConfigurationOut(BaseModel):
    """See ConfigurationIn: what POST /jobs takes."""

    model_config = ConfigDict(extra="allow")


@router.get(
    "/runs/{uid}/configuration",
    auth=READ,
    response=WITH_OBJECT | {200: ConfigurationOut},
    summary="Its configuration",
)
def configuration(request: ApiRequest, uid: str) -> HttpResponse:
    """As POST /jobs and the wizard take it."""
    found = _run(request, uid, "test_version", "corpus__version", "base_run")
    return answer(request, ConfigurationOut(**portable.to_dict(found)))


@router.post("/runs/{uid}/stop", auth=WRITE, response=CHANGING | {200: RunOut}, summary="Stop a run")
def stop(request: ApiRequest, uid: str) -> HttpResponse:
    """A waiting run ends at once, a training one saves a checkpoint first. Asking twice is no error."""
    found = _run(request, uid)
    if not lifecycle.request_stop(found, request.auth.user):
        found.refresh_from_db()
        if found.is_terminal and found.stop_requested_at is None:
            raise conflict(_("%(run)s is over already.") % {"run": found})
    return answer(request, run_out(_run(request, uid)))


@router.post("/runs/{uid}/pause", auth=WRITE, response=CHANGING | {200: RunOut}, summary="Pause a run")
def pause(request: ApiRequest, uid: str) -> HttpResponse:
    """A waiting run keeps waiting, a training one saves first; neither goes on until it is resumed. Asking twice is
    no error."""
    found = _run(request, uid)
    if not lifecycle.request_pause(found, request.auth.user):
        found.refresh_from_db()
        if found.paused_at is None:
            raise conflict(_("The run is over, being stopped, or paused already."))
    return answer(request, run_out(_run(request, uid)))


@router.post("/runs/{uid}/resume", auth=WRITE, response=CHANGING | {200: RunOut}, summary="Resume a run")
def resume(request: ApiRequest, uid: str) -> HttpResponse:
    """Puts a paused run back into the queue; it goes on from where it was."""
    if not lifecycle.resume(_run(request, uid), request.auth.user):
        raise conflict(_("The run is not paused."))
    return answer(request, run_out(_run(request, uid)))


@router.post("/runs/{uid}/retry", auth=WRITE, response=CHANGING | {201: RunOut}, summary="Once more")
def retry(request: ApiRequest, uid: str) -> HttpResponse:
    """A further run of the same job with the configuration of this one, which has to be over."""
    found = _run(request, uid, "test_version", "corpus__version", "base_run")
    if not found.is_terminal:
        raise conflict(_("%(run)s is not over yet.") % {"run": found})
    run = repeat(found, request.auth.user)
    return answer(request, run_out(_run(request, run.uid)), 201)


@router.put("/runs/{uid}/priority", auth=WRITE, response=CHANGING | {200: RunOut}, summary="Give it priority")
def priority(request: ApiRequest, uid: str, given: PriorityIn) -> HttpResponse:
    """Of a run that waits. High is for owners of the workspace to give."""
    found = _run(request, uid)
    if not priorities.change_as_member(found, Priority[given.priority.upper()], request.auth.user):
        raise conflict(_("The run waits no longer."))
    return answer(request, run_out(_run(request, uid)))


@router.delete("/runs/{uid}", auth=ADMIN, response=CHANGING | {204: None}, summary="Delete a run")
def delete(request: ApiRequest, uid: str) -> HttpResponse:
    """Only one that is over and that no other was built on. What was published from it stays."""
    deletion.delete_run(_run(request, uid), request.auth.user)
    return nothing()


@router.post("/runs/{uid}/publish", auth=WRITE, response=CHANGING | {202: PublishedOut}, summary="Publish it")
def publish(request: ApiRequest, uid: str, given: PublishIn) -> HttpResponse:
    """Makes a version of a model of a run that is done."""
    found = _run(request, uid)
    name = given.model_name.replace("\0", "").strip()
    model = Model.objects.filter(workspace=found.job.workspace, name=name).first()
    try:
        version = publishing.request(found, request.auth.user, name, model)
    except publishing.PublicationRefused as refused:
        raise conflict(refused) if refused.field == "run" else invalid("model_name", refused) from refused
    return answer(request, PublishedOut(model=version.model.uid, model_version=version.uid), 202)


# --- What it reports -----------------------------------------------------------------------------------------


@router.get("/runs/{uid}/metrics", auth=READ, response=WITH_OBJECT | {200: MetricsOut}, summary="Its curves")
def metrics(
    request: ApiRequest,
    uid: str,
    named: Annotated[
        str, Query(alias="keys", max_length=400, description="loss,eval_loss; empty for all")
    ] = "",
    after: Annotated[int, Query(ge=0, le=2**62, description="`cursor` of the answer before")] = 0,
) -> HttpResponse:
    """Of each metric at most 1,000 points; of more, the lowest and the highest of each stretch of steps."""
    chosen = [key for key in named.replace("\0", "").split(",") if key]
    found = curves(_run(request, uid), chosen, after)
    series = [
        SeriesOut(key=item["key"], label=item["label"], points=item["points"]) for item in found["series"]
    ]
    return answer(request, MetricsOut(series=series, cursor=found["cursor"], active=found["active"]))


@router.get("/runs/{uid}/log", auth=READ, response=WITH_OBJECT | {200: LogOut, 422: Error}, summary="Its log")
def log(
    request: ApiRequest,
    uid: str,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="Byte to begin at")] = None,
) -> HttpResponse:
    """The end of it; with `after` what follows that byte. At most 256 KiB at a time."""
    piece = read_log(log_path(_run(request, uid)), after)
    return answer(request, LogOut(text=piece.text, start=piece.start, end=piece.end, size=piece.size))


@router.get(
    "/runs/{uid}/log/download",
    auth=READ,
    response=WITH_OBJECT,
    openapi_extra=file_of("text/plain"),
    summary="All of its log",
)
def log_download(request: ApiRequest, uid: str) -> HttpResponseBase:
    """As text/plain."""
    found = _run(request, uid)
    try:
        file = log_path(found).open("rb")
    except FileNotFoundError:
        raise Http404(_("This run has no log (yet).")) from None
    return as_file(FileResponse(file, content_type="text/plain; charset=utf-8"), f"{found.uid}.log")


@router.get(
    "/runs/{uid}/checkpoints",
    auth=READ,
    response=WITH_OBJECT | {200: CheckpointsOut},
    summary="Its checkpoints",
)
def checkpoints(request: ApiRequest, uid: str) -> HttpResponse:
    """Newest first."""
    saved = _run(request, uid).checkpoints.order_by("-step")
    items = [
        CheckpointOut(
            step=item.step,
            size=item.size,
            loss=item.loss,
            eval_loss=item.eval_loss,
            created_at=item.created_at,
        )
        for item in saved
    ]
    return answer(request, CheckpointsOut(items=items))


@router.get(
    "/runs/{uid}/timeline", auth=READ, response=WITH_OBJECT | {200: TimelineOut}, summary="Its timeline"
)
def timeline(
    request: ApiRequest,
    uid: str,
    limit: Annotated[int, Query(ge=1, le=1000, description="The newest so many")] = 100,
) -> HttpResponse:
    """What happened to it, newest first."""
    entries = _run(request, uid).timeline.select_related("actor").order_by("-at", "-pk")[:limit]
    items = [
        TimelineItem(
            at=entry.at,
            kind=entry.kind,
            text=timeline_text(entry),
            actor=entry.actor.username if entry.actor else None,
            data=entry.data,
        )
        for entry in entries
    ]
    return answer(request, TimelineOut(items=items))
