"""Celery entry points of the datasets app."""

from console.celery import app
from datasets.imports import run_import, stale_imports


@app.task
def import_version(version_id: int) -> None:
    """Imports a version, unless somebody else does."""
    run_import(version_id)


@app.task
def resume_imports() -> None:
    """Wakes workers for imports that nobody works on: a lost message, or a worker that died."""
    for version_id in stale_imports():
        import_version.delay(version_id)
