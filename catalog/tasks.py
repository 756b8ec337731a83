"""Celery entry points of the catalogue and the registry."""

import subprocess
import sys

from celery import shared_task
from django.conf import settings

from catalog import pushing


@shared_task
def push_version(push_id: int) -> None:
    """Copies a published version to where it is wanted, unless somebody else does; to a hub from a process of its
    own (catalog/hub.py)."""
    if pushing.is_for_a_hub(push_id):
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "carry_out_push", str(push_id)]
        subprocess.run(command, check=False)
    else:
        pushing.carry_out(push_id)


@shared_task
def resume_pushes() -> None:
    """Wakes workers for copies that nobody works on: a lost message, or a worker that died (beat)."""
    for push_id in pushing.waiting():
        push_version.apply_async((push_id,), expires=15)
