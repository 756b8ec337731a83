"""What a caller may name: jobs and runs of the key's workspace; anything else does not exist."""

from __future__ import annotations

from django.db.models import F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce

from catalog.models import BaseModel
from console.api.errors import not_found
from console.api.keys import Caller
from jobs.models import Job, Run
from jobs.training.trainers import SFT, methods_of, mode_of


def jobs(caller: Caller) -> QuerySet[Job]:
    """The jobs, each with the name of the base model of its last run (`model_name`), else of its own, and that run's
    method (`last_method`)."""
    last = Run.objects.filter(job=OuterRef("pk")).order_by("-version")
    found = Job.objects.filter(workspace=caller.workspace).select_related("base_model__family", "workspace")
    return found.annotate(
        model_name=Coalesce(Subquery(last.values("base_model__name")[:1]), F("base_model__name"), Value("")),
        last_method=Subquery(last.values("method")[:1]),
    )


def in_mode(jobs: QuerySet[Job], mode: str) -> QuerySet[Job]:
    """Those of `jobs` that are in a training mode, as `mode_of_job` says."""
    without_runs = Q(last_method=None, mode__in=[mode, ""] if mode == SFT else [mode])
    return jobs.filter(without_runs | Q(last_method__in=methods_of(mode)))


def mode_of_job(job: Job) -> str:
    """The mode of the last run of a job out of `jobs`, else the one that it was made in."""
    method = job.last_method  # type: ignore[attr-defined]
    return mode_of(method) if method else job.mode or SFT


def runs(caller: Caller) -> QuerySet[Run]:
    found = Run.objects.filter(job__workspace=caller.workspace)
    return found.select_related("job__workspace", "base_model", "model_version__model", "created_by")


def job(caller: Caller, uid: str) -> Job:
    """Raises Refused."""
    found = jobs(caller).filter(uid=uid).first()
    if found is None:
        raise not_found(f"There is no job {uid!r} in this workspace.", "jobId")
    return found


def run(caller: Caller, uid: str, param: str = "taskId") -> Run:
    """Raises Refused."""
    found = runs(caller).filter(uid=uid).first()
    if found is None:
        raise not_found(f"There is no task {uid!r} in this workspace.", param)
    return found


def base_model_of(job: Job) -> BaseModel | None:
    """What the next run of a job trains unless somebody chooses otherwise: as the last one did."""
    last = job.runs.select_related("base_model__family").order_by("-version").first()
    return last.base_model if last else job.base_model
