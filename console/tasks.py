"""Celery entry points of the console itself."""

from celery import shared_task

from console import deletion


@shared_task
def remove_files(deletion_id: int) -> None:
    """Removes the files of something that was deleted."""
    deletion.remove_files(deletion_id)


@shared_task
def resume_deletions() -> None:
    """Removes files that a lost message or a dead worker left behind (beat)."""
    for deletion_id in deletion.waiting():
        deletion.remove_files(deletion_id)
