"""Celery entry points of the console itself."""

from celery import shared_task

from console import audit, deletion


@shared_task
def remove_files(deletion_id: int) -> None:
    """Removes the files of something that was deleted."""
    deletion.remove_files(deletion_id)


@shared_task
def resume_deletions() -> None:
    """Removes files that a lost message or a dead worker left behind (beat)."""
    for deletion_id in deletion.waiting():
        deletion.remove_files(deletion_id)


@shared_task
def delete_old_audit_entries() -> None:
    """Deletes audit entries that have been kept for as long as the operator wants (beat)."""
    audit.delete_old()
