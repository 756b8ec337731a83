"""Files that a browser sends in pieces: each is appended where the last one ended, until the whole file is there.

The pieces go to settings.UPLOADS_DIR, which all web processes share: any of them takes any piece. A piece is first
written to a file of its own and then appended under the lock of its Upload's row, so that a piece that is sent twice,
or comes late, never mixes with another one. What the database says has arrived is what counts: bytes behind it are
cut off, and where the disk has fewer the file goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import IO

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Sum
from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.afterwards import after_commit
from console.disks import is_full
from console.models import User
from datasets import publishing
from datasets.models import DatasetVersion, Upload
from datasets.publishing import NotAllowed
from datasets.storage import Linked
from datasets.uploads import MAX_FILES, import_files, refusal

# The browser sends less at a time: as much as passes in a few seconds.
MAX_PIECE_BYTES = 32 * 1024**2
CHUNK_BYTES = 256 * 1024
# Kept free for everything else that writes to the disk.
SPARE_BYTES = 512 * 1024**2
KEPT = timedelta(days=3)
# A piece that is written for so long belongs to a request that is gone.
PIECE_SECONDS = 3600


class WrongOffset(Exception):
    """The piece does not start where the file ends so far: at `received`."""

    def __init__(self, received: int) -> None:
        super().__init__(received)
        self.received = received


class Interrupted(Exception):
    """The connection ended before the piece did; nothing of it was kept."""


def path_of(upload: Upload) -> Path:
    """Where the bytes lie that have arrived."""
    return Path(settings.UPLOADS_DIR) / f"{upload.uid}.part"


def begin(version: DatasetVersion, user: User, name: str, size: int, modified: str) -> Upload:
    """Returns the upload of a file, new or where it stopped; `modified` is the file's date as the browser knows it.

    Raises NotAllowed if the version takes no files now, ValidationError for a file that is not accepted.
    """
    publishing.require_open(version)
    name = clean_name(name)
    if sentence := refusal(name, size):
        raise ValidationError(sentence)
    fingerprint = hashlib.sha256(f"{name}\0{size}\0{modified}".encode(errors="replace")).hexdigest()
    with transaction.atomic():
        # Of two requests that come together the second one sees what the first one began.
        publishing.locked(version)
        own = Upload.objects.filter(version=version, user=user)
        upload = own.filter(fingerprint=fingerprint).first()
        if upload is None:
            if own.count() >= MAX_FILES:
                raise ValidationError(_("At most %(limit)d files at a time.") % {"limit": MAX_FILES})
            _require_room(version, size)
            upload = Upload.objects.create(
                version=version, user=user, name=name, size=size, fingerprint=fingerprint
            )
    arrived = _size_on_disk(upload)
    if arrived < upload.received:
        # The directory was emptied, or the machine lost power.
        upload.received = arrived
        upload.save(update_fields=["received", "updated_at"])
    return upload


def clean_name(name: str) -> str:
    """A file's name without folders and control characters, at most 255 characters."""
    name = "".join(character for character in name if character.isprintable())
    path = PurePosixPath(PurePosixPath(name.replace("\\", "/")).name)
    return f"{path.stem[: 255 - len(path.suffix)]}{path.suffix}" if len(path.suffix) < 50 else path.name[:255]


def _require_room(version: DatasetVersion, size: int) -> None:
    """Raises ValidationError where the disk, or the workspace's share of it, has no room for so many bytes."""
    params = {"size": filesizeformat(size)}
    directory = Path(settings.UPLOADS_DIR)
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free - SPARE_BYTES
    if size > free:
        params["free"] = filesizeformat(max(0, free))
        raise ValidationError(
            _("The server's disk has room for %(free)s; this file has %(size)s. Tell your administrator.")
            % params
        )
    limit = settings.UPLOADS_MAX_GB * 1024**3
    waiting = Upload.objects.filter(version__dataset__workspace=version.dataset.workspace_id)
    if size + (waiting.aggregate(sum=Sum("size"))["sum"] or 0) > limit:
        params["limit"] = filesizeformat(limit)
        raise ValidationError(
            _(
                "The unfinished uploads of this workspace may have %(limit)s together; with this file of %(size)s "
                "they have more. Finish or discard some first."
            )
            % params
        )


def _size_on_disk(upload: Upload) -> int:
    try:
        return path_of(upload).stat().st_size
    except FileNotFoundError:
        return 0


def receive(upload: Upload, offset: int, stream: IO[bytes], length: int) -> int:
    """Appends a piece of `length` bytes and returns how many bytes of the file have arrived.

    Raises NotAllowed if the version takes no files any more, the upload was discarded, the file grows beyond its size
    or the disk is full; WrongOffset; Interrupted.
    """
    publishing.require_open(upload.version)
    if offset != upload.received:
        raise WrongOffset(upload.received)
    if not 0 < length <= min(MAX_PIECE_BYTES, upload.size - offset):
        raise NotAllowed(_("The file is longer than it was when the upload began. Choose it again."))
    piece = Path(settings.UPLOADS_DIR) / f"{upload.uid}.{secrets.token_hex(4)}.piece"
    try:
        with _room():
            piece.parent.mkdir(parents=True, exist_ok=True)
            _write(stream, piece, length)
            received = _append(upload, offset, piece, length)
    finally:
        piece.unlink(missing_ok=True)
    if received != offset + length:
        raise WrongOffset(received)
    return received


@contextmanager
def _room() -> Iterator[None]:
    """A full disk is something to tell the person at the browser."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise NotAllowed(_("The server's disk is full. Tell your administrator.")) from error


def _write(stream: IO[bytes], piece: Path, length: int) -> None:
    left = length
    with piece.open("xb") as file:
        while left and (chunk := stream.read(min(CHUNK_BYTES, left))):
            file.write(chunk)
            left -= len(chunk)
    if left:
        raise Interrupted


@transaction.atomic
def _append(upload: Upload, offset: int, piece: Path, length: int) -> int:
    """Appends a piece that is there as a whole; returns what has arrived then: less than `offset` where the disk
    has lost some. Raises WrongOffset, NotAllowed."""
    current = Upload.objects.select_for_update().filter(pk=upload.pk).first()
    if current is None:
        raise NotAllowed(_("This upload was discarded."))
    if current.received != offset:
        raise WrongOffset(current.received)
    path = path_of(upload)
    path.touch()
    with path.open("r+b") as target, piece.open("rb") as source:
        target.seek(0, os.SEEK_END)
        if target.tell() < offset:
            current.received = target.tell()
        else:
            target.truncate(offset)
            target.seek(offset)
            shutil.copyfileobj(source, target, CHUNK_BYTES)
            current.received = offset + length
    current.save(update_fields=["received", "updated_at"])
    return current.received


@transaction.atomic
def import_arrived(version: DatasetVersion, user: User, format_key: str = "") -> None:
    """Starts the import of all files that a person has sent for a version; raises NotAllowed."""
    version = publishing.locked(version)
    publishing.require_open(version)
    uploads = list(Upload.objects.select_for_update().filter(version=version, user=user))
    if not uploads:
        raise NotAllowed(_("No file has arrived yet."))
    missing = [
        upload for upload in uploads if upload.received < upload.size or _size_on_disk(upload) < upload.size
    ]
    if missing:
        raise NotAllowed(
            ngettext(
                "%(count)d file has not arrived yet: %(names)s. Choose it again, or discard it.",
                "%(count)d files have not arrived yet: %(names)s. Choose them again, or discard them.",
                len(missing),
            )
            % {"count": len(missing), "names": ", ".join(upload.name for upload in missing[:5])}
        )
    files = [Linked(path_of(upload).open("rb"), upload.name) for upload in uploads]
    try:
        with _room():
            import_files(version, files, format_key)
    finally:
        for file in files:
            file.close()
    _remove(uploads)


def discard(uploads: Iterable[Upload]) -> None:
    """Forgets uploads and what has arrived of them."""
    with transaction.atomic():
        _remove(list(uploads))


def _remove(uploads: list[Upload]) -> None:
    """Removes the rows, and after the commit the files."""
    Upload.objects.filter(pk__in=[upload.pk for upload in uploads]).delete()
    for upload in uploads:
        after_commit(path_of(upload).unlink, missing_ok=True)


def unfinished(version: DatasetVersion, user: User) -> list[Upload]:
    """A person's uploads for a version: what has not arrived as a whole first."""
    return list(Upload.objects.filter(version=version, user=user).order_by(F("received") - F("size"), "pk"))


def discard_old() -> int:
    """Removes uploads that nobody has touched for days, and files without an upload; returns how many uploads."""
    old = list(Upload.objects.filter(updated_at__lt=timezone.now() - KEPT))
    discard(old)
    known = set(Upload.objects.values_list("uid", flat=True))
    with suppress(FileNotFoundError):
        for path in Path(settings.UPLOADS_DIR).iterdir():
            with suppress(FileNotFoundError):
                is_old = time.time() - path.stat().st_mtime > PIECE_SECONDS
                # A file appears before its first piece is committed, hence the wait.
                if is_old and (path.suffix == ".piece" or path.stem not in known):
                    path.unlink()
    return len(old)
