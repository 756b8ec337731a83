"""Which events of runs and limits people are told of. Each is recorded in the transaction of the change itself."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.conf import settings

from console.notifications.recording import record
from jobs.models import Run, RunState, TimelineEntry

# Of the hours of a month.
LOW = 0.8
# Names of runs in one text, and how many are named to webhooks.
NAMED, LISTED = 5, 100


def run_ended(run: Run) -> None:
    """A run is done or has failed. One that somebody stopped is no news to anybody."""
    if run.state == RunState.DONE:
        _tell("run.done", run, "", base_model=run.base_model.name, steps=run.step)
    elif run.state == RunState.FAILED:
        _tell("run.failed", run, "", failure=run.failure)


def run_preempted(run: Run) -> None:
    """An idle run has made room once more; told of every PREEMPTIONS_NOTED times."""
    count = TimelineEntry.objects.filter(run=run, kind="preempted").count()
    if count % settings.PREEMPTIONS_NOTED == 0:
        _tell("run.preempted", run, f":{count}", count=count, step=run.step)


def run_rests(run: Run) -> None:
    """A run waits for somebody to mend what keeps it from going on. Each time is told of."""
    count = TimelineEntry.objects.filter(run=run, kind="rests").count()
    _tell("run.rests", run, f":{count}", failure=run.failure)


def run_not_published(run: Run) -> None:
    """A run that is done does not become a model version. Each try may be told of."""
    count = TimelineEntry.objects.filter(run=run, kind="publish_skipped").count()
    _tell("run.not_published", run, f":{count}", note=run.publication_note)


def _tell(kind: str, run: Run, suffix: str, **data: Any) -> None:
    about = {"uid": run.uid, "run": str(run), "job": run.job.uid}
    record(kind, run.job.workspace_id, f"{run.uid}{suffix}", about | data, run.created_by_id)


def hours_used(workspace_id: int, used: float, limit: int, month: date, next_month: date) -> None:
    """So many of a month's device hours are used: told of at LOW and at the limit, once each for every limit."""
    figures = {"used": int(used), "limit": limit, "day": f"{next_month:%Y-%m-%d}"}
    key = f"{month:%Y-%m}:{limit}"
    if used >= limit:
        record("budget.used", workspace_id, key, figures)
    elif used >= limit * LOW:
        record("budget.low", workspace_id, key, figures)


def checkpoints_going(workspace_id: int, today: date, first_day: date, runs: list[Run]) -> bool:
    """Checkpoints of these runs go from that day on. At most one notification a day: False if there was one."""
    names = ", ".join(str(run) for run in runs[:NAMED]) + (", …" if len(runs) > NAMED else "")
    data = {
        "count": len(runs),
        "day": first_day.isoformat(),
        "runs": names,
        "run_uids": [run.uid for run in runs[:LISTED]],
    }
    return record("checkpoints.going", workspace_id, today.isoformat(), data)
