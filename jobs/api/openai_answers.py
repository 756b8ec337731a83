"""Runs as OpenAI's fine-tuning API describes them: its "job" is one of our runs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from catalog.api.openai_models import model_id
from catalog.models import OfferedHyperparameter
from datasets.api.files import file_id
from jobs.api.openai_request import DPO_NAMES, MODES, NAMES
from jobs.messages import failure_text, timeline_text, timeline_tone
from jobs.models import Checkpoint, Publication, Run, RunState, TimelineEntry
from jobs.training.trainers import DPO, mode_of

_STATUS = {
    RunState.WAITING: "queued",
    RunState.RUNNING: "running",
    RunState.DONE: "succeeded",
    RunState.FAILED: "failed",
    RunState.STOPPED: "cancelled",
}


def job_id(run: Run) -> str:
    return "ftjob-" + run.uid.removeprefix("task-")


def describe_jobs(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Jobs out of `openai_jobs._runs`, with few queries."""
    runs = list(runs)
    rates = OfferedHyperparameter.objects.filter(
        key="learningRate", offer__base_model__in={run.base_model_id for run in runs}
    )
    found = rates.values_list("offer__base_model_id", "offer__method", "default")
    defaults = {(model, method): default for model, method, default in found}
    return [_describe(run, defaults.get((run.base_model_id, run.method))) for run in runs]


def _describe(run: Run, default_rate: float | None) -> dict[str, Any]:
    mode = mode_of(run.method)
    method = next((name for name, ours in MODES.items() if ours == mode), mode.lower())
    names = DPO_NAMES if mode == DPO else NAMES
    hyperparameters = {name: _value(run, key) for key, name in names.items()}
    rate = _value(run, "learningRate")
    is_known = isinstance(rate, int | float) and default_rate
    hyperparameters["learning_rate_multiplier"] = rate / default_rate if is_known else "auto"
    sources = list(run.sources.all())
    finish = timezone.now() + timedelta(seconds=run.eta_seconds) if run.eta_seconds else None
    return {
        "object": "fine_tuning.job",
        "id": job_id(run),
        "model": run.base_model.name,
        "created_at": _seconds(run.created_at),
        "finished_at": _seconds(run.finished_at),
        "estimated_finish": _seconds(finish) if run.state == RunState.RUNNING else None,
        "fine_tuned_model": _published_as(run),
        "organization_id": f"org-{run.job.workspace_id}",
        "result_files": [],
        "status": status(run),
        "training_file": file_id(sources[0].version) if sources else "",
        "validation_file": file_id(run.test_version) if run.test_version else None,
        "hyperparameters": hyperparameters,
        "trained_tokens": _trained_tokens(run),
        "error": _error(run),
        "seed": _value(run, "seed") if _value(run, "seed") != "auto" else 42,
        "integrations": [],
        "metadata": run.metadata,
        "method": {"type": method, method: {"hyperparameters": hyperparameters}},
        "training_method": run.method,
        "user_provided_suffix": run.publish_name or None,
    }


def status(run: Run) -> str:
    """A run that is done is not succeeded before its model is there: clients go on to use that."""
    if run.is_paused:
        return "paused"
    if run.state == RunState.DONE and run.publication == Publication.PENDING:
        return "running"
    return _STATUS[RunState(run.state)]


def _value(run: Run, key: str) -> Any:
    """What the trainer resolved, else what was asked for."""
    resolved = run.resolved.get(key, {}).get("value")
    return run.hyperparameters.get(key, "auto") if resolved is None else resolved


def _published_as(run: Run) -> str | None:
    if run.model_version is None or run.publication == Publication.PENDING:
        return None
    return model_id(run.model_version)


def _trained_tokens(run: Run) -> int | None:
    tokens: float | None = run.tokens_an_epoch  # type: ignore[attr-defined]  # an annotation
    if run.state != RunState.DONE or tokens is None:
        return None
    return round(tokens * (run.epoch or run.whole_epochs or 1))  # type: ignore[attr-defined]


def _error(run: Run) -> dict[str, Any] | None:
    if not run.failure:
        return None
    return {"code": run.failure.get("code", "failed"), "message": failure_text(run.failure), "param": None}


def _seconds(at: datetime | None) -> int | None:
    return int(at.astimezone(UTC).timestamp()) if at else None


_LEVELS = {"is-error": "error", "is-warn": "warn"}


def describe_event(entry: TimelineEntry) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": f"ftevent-{entry.pk}",
        "created_at": _seconds(entry.at),
        "level": _LEVELS.get(timeline_tone(entry), "info"),
        "message": timeline_text(entry),
        "type": "message",
        "data": {"kind": entry.kind} | entry.data,
    }


def describe_checkpoint(run: Run, checkpoint: Checkpoint) -> dict[str, Any]:
    metrics = {
        "step": checkpoint.step,
        "train_loss": checkpoint.loss,
        "full_valid_loss": checkpoint.eval_loss,
    }
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": f"ftckpt-{checkpoint.pk}",
        "created_at": _seconds(checkpoint.created_at),
        "fine_tuned_model_checkpoint": f"ft:{run.base_model.name}:{run.uid}:ckpt-step-{checkpoint.step}",
        "fine_tuning_job_id": job_id(run),
        "step_number": checkpoint.step,
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }
