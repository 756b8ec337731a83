"""Celery entry points of the datasets app."""

from console.celery import app
from datasets import receiving
from datasets.imports import run_import, stale_imports
from datasets.tokens import run_count, stale_counts


@app.task
def import_version(version_id: int) -> None:
    """Imports a version, unless somebody else does."""
    run_import(version_id)


@app.task
def resume_imports() -> None:
    """Wakes workers for imports and token counts that nobody works on: a lost message, or a worker that died.

    While all workers are busy the messages expire instead of piling up; the next round sends them again.
    """
    for version_id in stale_imports():
        import_version.apply_async((version_id,), expires=15)
    for count_id in stale_counts():
        count_tokens.apply_async((count_id,), expires=15)


@app.task
def count_tokens(count_id: int) -> None:
    """Counts the tokens of a version, unless somebody else does."""
    run_count(count_id)


@app.task
def discard_old_uploads() -> None:
    """Removes files that somebody began to send and never went on with."""
    receiving.discard_old()
