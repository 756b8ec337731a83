"""What was deleted is recorded, and its files are removed afterwards, by a worker.

The rows go in the transaction that writes the `Deletion`; the files only when that is committed, so that nothing
that is still there ever lacks its files. Removing them can be repeated: a worker that dies half way, or a message
that is lost, delays it (`resume`, beat).
"""

from __future__ import annotations

import logging
import re
import shutil
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.utils import timezone

from console.afterwards import after_commit
from console.models import Deletion, User, Workspace

logger = logging.getLogger(__name__)


class NotDeletable(Exception):
    """Something else needs it; the text says what, for the user."""


def record(
    workspace: Workspace, user: User | None, kind: str, uid: str, name: str, **fields: Any
) -> Deletion:
    """Writes down a deletion and has its files (`folders`, `run_directories`) removed once it is committed. `user`
    is None for what the console deletes by itself."""
    from console.tasks import remove_files as task

    deletion = Deletion.objects.create(
        workspace=workspace, deleted_by=user, kind=kind, uid=uid, name=name[:100], **fields
    )
    # The broker may be away for a moment; beat asks again.
    after_commit(task.delay, deletion.pk)
    return deletion


def waiting() -> list[int]:
    """Deletions whose files are still to be removed."""
    return list(Deletion.objects.filter(files_removed_at=None).values_list("pk", flat=True))


def remove_files(deletion_id: int) -> None:
    """Removes what is left of the files; does nothing where they are gone."""
    deletion = Deletion.objects.filter(pk=deletion_id, files_removed_at=None).first()
    if deletion is None:
        return
    for folder in deletion.folders:
        remove_folder(folder)
    for name in deletion.run_directories:
        # Runs and their checkpoints only: nothing outside the directory of runs can be meant.
        if re.fullmatch(r"[a-z0-9-]+(/checkpoints/checkpoint-[0-9]+)?", name):
            with suppress(FileNotFoundError):
                shutil.rmtree(settings.RUNS_DIR / name)
    Deletion.objects.filter(pk=deletion_id).update(files_removed_at=timezone.now())
    logger.info("files of %s %s removed", deletion.kind, deletion.uid)


def remove_folder(path: str) -> None:
    """Removes everything under a path of the storage."""
    try:
        folders, files = default_storage.listdir(path)
    except FileNotFoundError:
        return
    for name in files:
        default_storage.delete(f"{path}/{name}")
    for name in folders:
        remove_folder(f"{path}/{name}")
    default_storage.delete(path)  # on a disk the empty folder itself; elsewhere there is none
