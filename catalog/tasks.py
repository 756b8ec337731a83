"""Celery entry points of the catalogue and the registry."""

from celery import shared_task

from catalog import pushing


@shared_task
def push_version(push_id: int) -> None:
    """Copies a published version into a bucket, unless somebody else does."""
    pushing.carry_out(push_id)


@shared_task
def resume_pushes() -> None:
    """Wakes workers for copies that nobody works on: a lost message, or a worker that died (beat)."""
    for push_id in pushing.waiting():
        push_version.apply_async((push_id,), expires=15)
