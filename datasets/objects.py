"""Objects of a bucket imported like uploads: copied into the storage by the worker that imports them.

Until it is copied, a source file's path names the object: `s3:<connection>/<bucket>/<key>`. Each file gets its
place in the storage as it arrives, so that a worker that takes over copies only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from io import BufferedReader
from pathlib import PurePosixPath
from threading import get_ident

from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.files.storage import default_storage
from django.utils.translation import gettext as _

from datasets import publishing
from datasets.connections import ConnectionFailed, Found, client_of, objects_below, plain_words
from datasets.models import Connection, DatasetVersion, SourceFile
from datasets.object_reader import BUFFER_BYTES, ObjectReader
from datasets.sources import EXTENSIONS, suffix_of
from datasets.uploads import MAX_FILES, max_file_bytes, refusal

SCHEME = "s3:"
MAX_PATH = SourceFile._meta.get_field("path").max_length or 300


def import_from(
    version: DatasetVersion, connection: Connection, bucket: str, folder: str, keys: Iterable[str] | None
) -> None:
    """Starts the import of objects of a folder into a version: those with the given keys, or (None) all below
    it that are of an accepted kind.

    Raises ConnectionFailed, ValidationError (one sentence for each object that is not accepted), NotAllowed.
    """
    publishing.require_open(version)
    wanted = None if keys is None else set(keys)
    if wanted is not None and not wanted:
        raise ValidationError(_("Choose a file first."))
    found: list[Found] = []
    for item in objects_below(connection, bucket, folder, is_waited_for=True):
        if item.key in wanted if wanted is not None else suffix_of(item.name) in EXTENSIONS:
            found.append(item)
        if len(found) > MAX_FILES:
            raise ValidationError(_("At most %(limit)d files at a time.") % {"limit": MAX_FILES})
        if wanted is not None and len(found) == len(wanted):
            break
    if wanted is not None and len(found) < len(wanted):
        raise ValidationError(_("Some of the chosen files are no longer there. Look again."))
    if not found:
        raise ValidationError(
            _("There is no file here of an accepted kind: %(kinds)s.") % {"kinds": ", ".join(EXTENSIONS)}
        )
    errors = list(filter(None, (_refusal(connection, bucket, item) for item in found)))
    if errors:
        raise ValidationError(errors)
    sources = [
        SourceFile(name=item.name[-255:], path=_path(connection, bucket, item.key), size=item.size)
        for item in found
    ]
    publishing.start_import(version, sources)


def _refusal(connection: Connection, bucket: str, item: Found) -> str:
    """Why an object is not accepted, in a sentence; "" if it is."""
    if len(_path(connection, bucket, item.key)) > MAX_PATH:
        return _("The path of “%(name)s” is too long.") % {"name": PurePosixPath(item.key).name}
    return refusal(item.name, item.size)


def _path(connection: Connection, bucket: str, key: str) -> str:
    return f"{SCHEME}{connection.uid}/{bucket}/{key}"


def waits_for(connection: Connection) -> bool:
    """Whether objects are still to be copied through the connection."""
    return SourceFile.objects.filter(path__startswith=f"{SCHEME}{connection.uid}/").exists()


def fetch(version: DatasetVersion, report: Callable[[int], None]) -> Callable[[int], None]:
    """Copies the version's objects into the storage and returns what the rest of the import reports to.

    Copying is one half of the work. Raises ConnectionFailed for the first object that cannot be had, and what
    `report` raises.
    """
    waiting = list(version.files.filter(path__startswith=SCHEME))
    if not waiting:
        return report
    done = sum(version.files.exclude(path__startswith=SCHEME).values_list("size", flat=True))
    report(done // 2)
    for source in waiting:
        try:
            source.path = _copy(version, source, lambda read, before=done: report((before + read) // 2))  # type: ignore[misc]
        except ConnectionFailed as failed:
            raise ConnectionFailed(f"{source.name}: {failed}", code=failed.code) from failed
        source.save(update_fields=["path"])
        done += source.size
    half = version.size // 2
    return lambda read: report(half + read // 2)


def _copy(version: DatasetVersion, source: SourceFile, report: Callable[[int], None]) -> str:
    """Streams an object into the storage and returns its path there."""
    uid, bucket, key = source.path.removeprefix(SCHEME).split("/", 2)
    connection = Connection.objects.filter(uid=uid, workspace=version.dataset.workspace_id).first()
    if connection is None:
        raise ConnectionFailed(_("The connection was deleted."))
    client = client_of(connection)
    with plain_words(connection, bucket):
        head = client.head_object(Bucket=bucket, Key=key)
    if head["ContentLength"] > max_file_bytes():
        raise ConnectionFailed(refusal(source.name, head["ContentLength"]))
    reader = ObjectReader(connection, bucket, key, head["ETag"], head["ContentLength"], client)
    path = f"datasets/{version.uid}/source/{source.pk}{suffix_of(source.name)}"
    with closing(BufferedReader(reader, BUFFER_BYTES)) as file:
        default_storage.delete(path)  # what a worker that was killed had begun
        return default_storage.save(path, _Reported(file, head["ContentLength"], report))  # type: ignore[arg-type]


class _Reported(File):  # type: ignore[type-arg]
    """A file that says how far it has been read."""

    def __init__(self, file: BufferedReader, size: int, report: Callable[[int], None]) -> None:
        super().__init__(file)
        self.source = file
        self.size, self.report = size, report
        self.told, self.thread = 0, get_ident()

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self.source.read(size)
        at = self.source.tell()
        # The storage may read in threads of its own, where the database is not asked; the heartbeat goes on.
        if at - self.told > 32 * BUFFER_BYTES and get_ident() == self.thread:
            self.told = at
            self.report(at)
        return piece
