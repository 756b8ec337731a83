"""Where a run's files lie on the machine that trains."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from jobs.models import Run

LOG_NAME = "train.log"


def run_directory(run: Run) -> Path:
    """The directory that the trainer works in; spec.json, data/, events.jsonl, checkpoints/ and output/ are there."""
    return settings.RUNS_DIR / run.uid


def result_directory(run: Run, step: int | None) -> Path:
    """The weights that a run ended with, or those of its checkpoint at a step."""
    directory = run_directory(run)
    return directory / "output" if step is None else directory / "checkpoints" / f"checkpoint-{step}"
