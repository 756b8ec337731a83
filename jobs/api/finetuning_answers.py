"""Jobs and runs as Qianfan's fine-tuning API describes them: its "task" is our run."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from catalog.models import ModelType
from jobs.api.lookups import mode_of_job
from jobs.models import Job, Run, RunState
from jobs.training.trainers import mode_of, scale_of

NOT_YET = "0000-00-00T00:00:00Z"


def moment(at: datetime | None) -> str:
    """UTC, to the second; zeros for what has not happened yet."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else NOT_YET


def describe_job(job: Job) -> dict[str, Any]:
    """A job out of `lookups.jobs`."""
    return {
        "jobId": job.uid,
        "name": job.name,
        "description": job.description,
        "model": job.model_name,  # type: ignore[attr-defined]
        "trainMode": mode_of_job(job),
        "createDate": moment(job.created_at),
    }


def describe_run(run: Run) -> dict[str, Any]:
    """The fields that list and detail share; `checkpoints` should be prefetched."""
    return {
        "taskId": run.uid,
        "jobId": run.job.uid,
        "jobName": run.job.name,
        "jobDescription": run.job.description,
        "model": run.base_model.name,
        "trainMode": mode_of(run.method),
        "parameterScale": scale_of(run.method),
        "runStatus": run.state,
        "metrics": _metrics(run),
        "checkpointList": [
            {
                "step": checkpoint.step,
                "perplexity": _perplexity(checkpoint.eval_loss or checkpoint.loss),
                "trainingLoss": checkpoint.loss,
            }
            for checkpoint in run.checkpoints.all()
        ],
        "createDate": moment(run.created_at),
        "finishDate": moment(run.finished_at),
    }


def describe_run_fully(run: Run, page: str) -> dict[str, Any]:
    """The answer of DescribeFineTuningTask; `page` is the address of the run's curves."""
    described = describe_run(run) | {"vdlLink": page}
    if run.state == RunState.RUNNING:
        # The SDK cuts off the last character and reads the rest as a whole number.
        described["runProgress"] = f"{run.percent}%"
    if run.failure:
        described["failureReason"] = run.failure.get("message", "")
    return described


def _metrics(run: Run) -> dict[str, str]:
    """What the trainer measured at the end, as texts; Qianfan gives metrics for texts only."""
    if run.state != RunState.DONE or run.job.model_type != ModelType.TEXT_TO_TEXT:
        return {}
    return {key: f"{value:.6g}" for key, value in run.summary.get("result", {}).get("metrics", {}).items()}


def _perplexity(loss: float | None) -> float | None:
    return math.exp(min(loss, 50.0)) if loss is not None else None
