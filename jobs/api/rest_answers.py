"""Jobs and runs as the own API describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from console.rest.answers import Next
from jobs.messages import failure_text, phase_text
from jobs.models import Job, Priority, Run


class JobOut(BaseModel):
    uid: str
    name: str
    type: str
    description: str
    created_at: datetime
    created_by: str | None


class Failure(BaseModel):
    code: str
    message: str


class RunBrief(BaseModel):
    """A run as the list of jobs shows it."""

    uid: str
    version: int
    base_model: str
    method: str
    state: str
    percent: int
    created_at: datetime
    finished_at: datetime | None


class RunOut(BaseModel):
    uid: str
    job: str = Field(description="job-…")
    job_name: str
    version: int
    base_model: str
    method: str
    state: str = Field(description="Waiting, Running, Done, Failed or Stopped")
    is_stopping: bool
    is_pausing: bool = Field(description="Saving, to wait until it is resumed")
    is_paused: bool = Field(description="Waits until it is resumed")
    phase: str = Field(description="What it does now, for people")
    percent: int
    step: int
    total_steps: int | None
    epoch: float
    eta_seconds: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    created_by: str | None
    pool: str | None
    devices: int
    idle: bool
    priority: str = Field(description="high, normal or low")
    failure: Failure | None
    publication: str = Field(description="off, pending, published or skipped")
    model_version: str | None = Field(description="amv-… that was published from it")
    metadata: dict[str, str]


class JobRowOut(JobOut):
    """A job with its newest run."""

    runs: int
    run: RunBrief | None


class JobPageOut(BaseModel):
    items: list[JobRowOut]
    next: Next


class RunPageOut(BaseModel):
    items: list[RunOut]
    next: Next


def job_fields(job: Job) -> dict[str, Any]:
    return {
        "uid": job.uid,
        "name": job.name,
        "type": job.model_type,
        "description": job.description,
        "created_at": job.created_at,
        "created_by": job.created_by.username if job.created_by else None,
    }


def run_brief(run: Run) -> RunBrief:
    return RunBrief(
        uid=run.uid,
        version=run.version,
        base_model=run.base_model.name,
        method=run.method,
        state=run.state,
        percent=run.percent,
        created_at=run.created_at,
        finished_at=run.finished_at,
    )


def run_out(run: Run, job: Job | None = None) -> RunOut:
    """A run; `job` spares looking it up. Base model, pool, person and model version should be at hand."""
    job = job or run.job
    return RunOut(
        uid=run.uid,
        job=job.uid,
        job_name=job.name,
        version=run.version,
        base_model=run.base_model.name,
        method=run.method,
        state=run.state,
        is_stopping=run.is_stopping,
        is_pausing=run.is_pausing,
        is_paused=run.is_paused,
        phase=str(phase_text(run)),
        percent=run.percent,
        step=run.step,
        total_steps=run.total_steps,
        epoch=run.epoch,
        eta_seconds=run.eta_seconds,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        created_by=run.created_by.username if run.created_by else None,
        pool=run.pool.queue if run.pool else None,
        devices=run.devices,
        idle=run.idle,
        priority=Priority(run.priority).name.lower(),
        failure=Failure(code=str(run.failure.get("code", "")), message=failure_text(run.failure))
        if run.failure
        else None,
        publication=run.publication,
        model_version=run.model_version.uid if run.model_version else None,
        metadata=run.metadata,
    )
