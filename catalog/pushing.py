"""A published version's files, copied into a bucket of the workspace's own.

Like imports, a push may be handed to any number of workers, any number of times, and any of them may be killed:
it is claimed by a conditional UPDATE, kept by a heartbeat, and begun again it skips the files that have arrived
whole, which it knows by their size and the checksum that was stored with them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from catalog import hub
from catalog.archive import folder_name
from catalog.models.pushes import HubAccount, Push, PushState
from catalog.models.registry import ModelVersion, ModelVersionState
from console.afterwards import after_commit
from console.beating import beating
from console.models import User
from datasets.connections import ConnectionFailed, client_of, plain_words
from datasets.models import Connection
from datasets.storage import stream

logger = logging.getLogger(__name__)

# Hugging Face: at most 96 characters each, and a namespace.
REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)
STALE_SECONDS = 60
HEARTBEAT_SECONDS = 5
# S3 takes 10,000 parts of a file: 640 GB.
PART_BYTES = 64 * 1024**2
# One thread: what goes wrong in the callback then ends the upload at once.
TRANSFER = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, use_threads=False)


class PushRefused(Exception):
    """A push that may not be made; the text says why, for the user, `field` what is to blame."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class _ClaimLost(Exception):
    """Another worker copies, or the version was deleted."""


def default_folder(version: ModelVersion) -> str:
    return f"models/{folder_name(version)}"


def request(version: ModelVersion, user: User, connection: Connection, bucket: str, folder: str) -> Push:
    """Has a version copied to `s3://bucket/folder/`; raises PushRefused. The connection is the workspace's."""
    if version.state != ModelVersionState.READY:
        raise PushRefused(_("Only a version that is ready can be copied."))
    bucket, folder = connection.bucket or bucket.strip(), folder.strip().strip("/")
    if not bucket:
        raise PushRefused(_("This connection names no bucket, so name one here."), "bucket")
    push = Push(version=version, created_by=user, connection=connection, bucket=bucket, folder=folder)
    try:
        push.clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise PushRefused(" ".join(messages), field) from error
    if any(part in (".", "..") or not part for part in folder.split("/") if folder):
        raise PushRefused(_("A folder has neither empty parts nor “.” or “..” in its path."), "folder")
    return _wait(push, "folder", bucket=bucket, folder=folder, connection=connection)


def request_on_hub(version: ModelVersion, user: User, account: HubAccount, repository: str) -> Push:
    """Has a version copied to a repository on a hub; raises PushRefused. The account is the workspace's."""
    if version.state != ModelVersionState.READY:
        raise PushRefused(_("Only a version that is ready can be copied."))
    repository = repository.strip()
    if not REPOSITORY.fullmatch(repository):
        text = _("A repository is named like people/model: letters, digits, “-”, “_” and “.”.")
        raise PushRefused(text, "repository")
    push = Push(version=version, created_by=user, account=account, repository=repository)
    return _wait(push, "repository", account=account, repository=repository)


def _wait(push: Push, field: str, **same: Any) -> Push:
    """Saves a push and has it carried out; raises PushRefused while the same one is."""
    from catalog.tasks import push_version

    with transaction.atomic():
        ModelVersion.objects.select_for_update().get(pk=push.version_id)
        others = push.version.pushes.filter(**same)
        if others.filter(state__in=(PushState.WAITING, PushState.RUNNING)).exists():
            raise PushRefused(_("It is being copied there already."), field)
        push.save()
        # The broker may be away for a moment; beat asks again.
        after_commit(push_version.delay, push.pk)
    return push


def waiting() -> list[int]:
    """Ids of the pushes that wait for a worker, or whose worker died."""
    return list(_claimable().values_list("pk", flat=True))


def is_for_a_hub(push_id: int) -> bool:
    return Push.objects.filter(pk=push_id).exclude(repository="").exists()


def carry_out(push_id: int) -> bool:
    """Copies, unless somebody else does. Returns whether this call carried the push to its end, good or bad."""
    push = _claim(push_id)
    if push is None:
        return False
    try:
        with beating("push", HEARTBEAT_SECONDS, partial(_mine(push).update, heartbeat_at=Now())):
            _copy(push)
    except _ClaimLost:
        return False
    except ConnectionFailed as failed:
        return _end(push, PushState.FAILED, str(failed))
    except FileNotFoundError:
        return _end(push, PushState.FAILED, _("The storage has lost a file of this version."))
    except Exception:
        logger.exception("push %s stopped", push.uid)
        _end(push, PushState.FAILED, _("It stopped unexpectedly. The log of the worker says why."))
        raise
    return _end(push, PushState.DONE)


def _claimable() -> QuerySet[Push]:
    silent = Q(heartbeat_at=None) | Q(heartbeat_at__lt=Now() - timedelta(seconds=STALE_SECONDS))
    return Push.objects.filter(silent, state__in=(PushState.WAITING, PushState.RUNNING))


def _claim(push_id: int) -> Push | None:
    push = _claimable().select_related("version__model", "connection", "account").filter(pk=push_id).first()
    if push is None:
        return None
    # Compare and swap: of two workers that read the same attempt one changes the row.
    claimed = _claimable().filter(pk=push_id, attempt=push.attempt)
    if not claimed.update(
        attempt=F("attempt") + 1, heartbeat_at=Now(), state=PushState.RUNNING, bytes_done=0
    ):
        return None
    push.attempt += 1
    return push


def _mine(push: Push) -> QuerySet[Push]:
    """The push as long as this worker's claim holds."""
    return Push.objects.filter(pk=push.pk, state=PushState.RUNNING, attempt=push.attempt)


def _end(push: Push, state: PushState, error: str = "") -> bool:
    return bool(_mine(push).update(state=state, error=error, finished_at=Now()))


def _copy(push: Push) -> None:
    """Copies file by file; raises ConnectionFailed, FileNotFoundError, _ClaimLost."""
    if push.repository:
        hub.copy(push, partial(_report, push, 0))
        return
    if push.connection is None:
        raise ConnectionFailed(_("The connection has been deleted."))
    client = client_of(push.connection)
    done = 0
    for file in push.version.files:
        _put(push, client, file, partial(_report, push, done))
        done += file["size"]
        _report(push, done, 0)


def _report(push: Push, before: int, more: int) -> None:
    if not _mine(push).update(bytes_done=before + more, heartbeat_at=Now()):
        raise _ClaimLost


def _put(push: Push, client: Any, file: dict[str, Any], report: Callable[[int], None]) -> None:
    """Copies one file, unless it is there; `report` hears how many of its bytes have been sent."""
    key = f"{push.folder}/{file['name']}".lstrip("/")
    sent = 0

    def count(size: int) -> None:
        nonlocal sent
        sent += size
        report(sent)

    with plain_words(push.connection, push.bucket):  # type: ignore[arg-type]
        if _is_there(client, push.bucket, key, file):
            return
    with (
        closing(stream(f"{push.version.path}/{file['name']}")) as content,
        plain_words(
            push.connection,  # type: ignore[arg-type]
            push.bucket,
        ),
    ):
        client.upload_fileobj(
            content,
            push.bucket,
            key,
            ExtraArgs={"Metadata": {"sha256": file["sha256"]}},
            Callback=count,
            Config=TRANSFER,
        )


def _is_there(client: Any, bucket: str, key: str, file: dict[str, Any]) -> bool:
    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in (403, 404):
            return False  # 403: keys that may write but not list; the upload says whether they may
        raise
    return bool(
        head["ContentLength"] == file["size"] and head.get("Metadata", {}).get("sha256") == file["sha256"]
    )
