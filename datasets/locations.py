"""Data used in place: a dataset version whose rows stay in a bucket, as they were when they were counted.

The chosen folder is the parent of a folder `jsonl/` (seed, section 数据配置). Its .jsonl files are read as an import
would read them, and the rows are thrown away; what is kept is the manifest: key, entity tag and size of every file.
Without errors the version is published at once. From then on every reading asks for exactly these objects, and
whatever differs, a file more or less included, is DataChanged.

Texts only: pictures have to lie in the console's own storage.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from itertools import islice
from pathlib import PurePosixPath
from typing import IO, Any

import msgspec
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from console.models import User
from datasets import publishing
from datasets.archives import Refused
from datasets.connections import ConnectionFailed, objects_below
from datasets.fast import DECODERS, Ready
from datasets.formats import FORMATS
from datasets.formats.base import cut
from datasets.models import Connection, DatasetVersion, Location, RowType, VersionState
from datasets.object_reader import BUFFER_BYTES, ObjectChanged, ObjectReader
from datasets.reading import Record, Shortcut, records
from datasets.results import Result
from datasets.sources import DataFile
from datasets.storage import stream

ROWS_FOLDER = "jsonl"
# A manifest lies in one row of the database.
MAX_OBJECTS = 1000
# So many rows are kept in the storage, for pages that show the beginning of the data.
HEAD_ROWS = 50
PICTURES = (RowType.IMAGE_CAPTION, RowType.IMAGE_MESSAGES)

Manifest = list[dict[str, Any]]


class DataChanged(ConnectionFailed):
    """The objects of a version are not those that were counted."""

    def __init__(self, version: DatasetVersion) -> None:
        self.version = version
        text = _("The data of %(version)s have changed in the bucket since they were counted.")
        super().__init__(text % {"version": version}, code="data_changed")


# --- Made ----------------------------------------------------------------------------------------------------


def create(connection: Connection, user: User, bucket: str, folder: str) -> DatasetVersion:
    """Makes a folder a dataset version and has its rows counted; raises ConnectionFailed.

    The same folder again: the version that there is, if nothing has changed, else the next one of its dataset.
    """
    prefix = folder.strip("/")
    if len(prefix) > Location._meta.get_field("prefix").max_length:  # type: ignore[operator]
        raise ConnectionFailed(_("The path of the folder is too long."))
    manifest = _present(connection, bucket, prefix, is_waited_for=True)
    if not manifest:
        raise ConnectionFailed(
            _("This folder has no folder %(name)s/ with .jsonl files in it. Choose the parent of %(name)s/.")
            % {"name": ROWS_FOLDER}
        )
    places = Location.objects.filter(connection=connection, bucket=bucket, prefix=prefix)
    last = places.select_related("version__dataset__workspace").order_by("-version").first()
    if last is None:
        version = _new_dataset(connection, user, PurePosixPath(prefix).name or bucket)
    elif last.version.state == VersionState.IMPORTING or _is_same(last, manifest):
        return last.version
    else:
        version = publishing.new_version(last.version.dataset, user)
    return _count(version, Location(connection=connection, bucket=bucket, prefix=prefix))


def count_again(version: DatasetVersion, user: User) -> DatasetVersion:
    """Counts the rows of a version's place once more, into the next version if this one is published; raises
    NotAllowed."""
    place = Location.objects.filter(version=version).first()
    if place is None:
        raise publishing.NotAllowed(_("This version is not used in place."))
    if version.state != VersionState.PUBLISHED:
        publishing.start_import(version, [])
        return version
    new = publishing.new_version(version.dataset, user)
    return _count(new, Location(connection=place.connection, bucket=place.bucket, prefix=place.prefix))


def _is_same(place: Location, manifest: Manifest) -> bool:
    return place.version.state == VersionState.PUBLISHED and place.manifest == manifest


def _new_dataset(connection: Connection, user: User, name: str) -> DatasetVersion:
    """A dataset named for the folder, under the first name that is free."""
    name = name[:40] if len(name) > 1 else f"{ROWS_FOLDER} {name}"
    for number in range(1, 1000):
        free = name if number == 1 else f"{name} {number}"
        try:
            return publishing.create_dataset(connection.workspace, user, free)
        except IntegrityError:
            continue
    raise ConnectionFailed(_("This workspace already has a dataset of that name."))


@transaction.atomic
def _count(version: DatasetVersion, place: Location) -> DatasetVersion:
    place.version = version
    place.save()
    publishing.start_import(version, [])
    version.refresh_from_db()
    return version


def _present(connection: Connection, bucket: str, prefix: str, *, is_waited_for: bool) -> Manifest:
    """The .jsonl files that are there now, in the order of their keys; raises ConnectionFailed."""
    folder = f"{prefix}/{ROWS_FOLDER}/" if prefix else f"{ROWS_FOLDER}/"
    found: Manifest = []
    for item in objects_below(connection, bucket, folder, is_waited_for=is_waited_for):
        if "/" not in item.name and item.name.lower().endswith(".jsonl") and item.size:
            found.append({"key": item.key, "etag": item.etag, "size": item.size})
        if len(found) > MAX_OBJECTS:
            text = _("The folder holds more than %(limit)d files. Divide it.") % {"limit": MAX_OBJECTS}
            raise ConnectionFailed(text)
    return sorted(found, key=lambda item: str(item["key"]))


# --- Counted -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ObjectFile(DataFile):
    """A file of a bucket, among the files of an import."""

    place_of: Location
    etag: str

    @property
    def identity(self) -> list[object]:
        return [*super().identity, self.etag]

    @contextmanager
    def raw(self) -> Iterator[IO[bytes]]:
        try:
            with _opened(self.place_of, self.path, self.etag, self.share) as file:
                yield file
        except ConnectionFailed as failed:
            raise Refused("connection_failed", reason=str(failed)) from failed


@contextmanager
def _opened(place: Location, key: Any, etag: str, size: int) -> Iterator[IO[bytes]]:
    reader = ObjectReader(place.connection, place.bucket, str(key), etag, size)
    with closing(BufferedReader(reader, BUFFER_BYTES)) as file:
        yield file  # type: ignore[misc]


def begin(version: DatasetVersion, result: Result) -> Location | None:
    """Gives the objects of a version in place to its import; None for a version of files.

    The manifest of the location that is returned is what is there now. Raises ConnectionFailed.
    """
    places = Location.objects.select_related("connection__workspace")
    place = None if version.files.exists() else places.filter(version=version).first()
    if place is None:
        return None
    place.manifest = _present(place.connection, place.bucket, place.prefix, is_waited_for=False)
    version.size = sum(item["size"] for item in place.manifest)
    mine = DatasetVersion.objects.filter(pk=version.pk, import_attempt=version.import_attempt)
    mine.filter(state=VersionState.IMPORTING).update(size=version.size)
    if not place.manifest:
        result.refuse("place_empty", {"folder": ROWS_FOLDER})
    for item in place.manifest:
        name = PurePosixPath(item["key"]).name
        result.sources.files.append(
            _ObjectFile(name, (0, name), item["key"], "", item["size"], place, item["etag"])
        )
    return place


def check_kind(place: Location | None, result: Result) -> None:
    """Refuses pictures in place."""
    if place and result.rows and result.format and result.format.row_type in PICTURES:
        result.refuse("place_of_pictures", {})


def settle(version: DatasetVersion, place: Location | None) -> None:
    """The end of an import, in its transaction: publishes a version in place that has no errors, together with its
    manifest; a version that was given files is no longer in place."""
    if place is None:
        if version.files.exists():
            Location.objects.filter(version=version).delete()
        return
    place.save(update_fields=["manifest"])
    counted = DatasetVersion.objects.filter(pk=version.pk)
    if counted.filter(state=VersionState.DRAFT, row_count__gt=0).update(
        state=VersionState.PUBLISHED, published_at=timezone.now()
    ):
        version.refresh_from_db()
        _keep_head(version)
    else:
        # Of data that are not ours no part can be taken.
        counted.update(
            state=VersionState.FAILED,
            row_count=0,
            turn_count=0,
            character_count=0,
            content_hash="",
            statistics={},
        )


# --- Read ----------------------------------------------------------------------------------------------------


def place_of(version: DatasetVersion) -> Location | None:
    return Location.objects.select_related("connection__workspace").filter(version=version).first()


def iter_rows(version: DatasetVersion) -> Generator[bytes, None, None]:
    """Yields the canonical rows of a version in place, streamed from its bucket; nothing for other versions.

    Raises DataChanged, ConnectionFailed.
    """
    place = place_of(version) if version.format else None
    if place is None:
        return
    rows = 0
    try:
        for item in place.manifest:
            with _opened(place, item["key"], item["etag"], item["size"]) as file:
                for line in _canonical(file, item["key"], version.format):
                    rows += 1
                    yield line
    except ObjectChanged as error:
        raise DataChanged(version) from error
    if rows != version.row_count:
        raise DataChanged(version)


def _canonical(file: IO[bytes], name: str, format_key: str) -> Iterator[bytes]:
    """The rows of one file, as datasets.results makes them of what it finds to be good."""
    format_ = FORMATS[format_key]
    for item in records(file, name, Shortcut(DECODERS.get(format_key))):
        if isinstance(item, Ready):
            yield item.json
        elif isinstance(item, Record):
            row = format_.row(item.value)
            cut(row)
            yield msgspec.json.encode(row)


def page_of_rows(version: DatasetVersion, offset: int, limit: int) -> list[dict[str, Any]]:
    """Decodes `limit` rows from number `offset` (from 0) on; the first ones without asking the bucket."""
    if offset + limit <= HEAD_ROWS or version.row_count <= HEAD_ROWS:
        with closing(stream(_head_path(version))) as file:
            return [msgspec.json.decode(line) for line in islice(file, offset, offset + limit)]
    with closing(iter_rows(version)) as rows:
        return [msgspec.json.decode(line) for line in islice(rows, offset, offset + limit)]


def _keep_head(version: DatasetVersion) -> None:
    with closing(iter_rows(version)) as rows:
        lines = [line + b"\n" for line in islice(rows, HEAD_ROWS)]
    default_storage.delete(_head_path(version))
    default_storage.save(_head_path(version), ContentFile(b"".join(lines)))


def _head_path(version: DatasetVersion) -> str:
    return f"datasets/{version.uid}/head.jsonl"


# --- Unchanged? ----------------------------------------------------------------------------------------------


def require_unchanged(version: DatasetVersion, *, is_waited_for: bool = False) -> None:
    """Lists the objects of a version in place: raises DataChanged if they are not exactly those that were counted,
    and ConnectionFailed. Nothing is asked for a version of files."""
    place = place_of(version)
    if place is None:
        return
    try:
        present = _present(place.connection, place.bucket, place.prefix, is_waited_for=is_waited_for)
    except ConnectionFailed as failed:
        if failed.code == "NoSuchBucket":
            raise DataChanged(version) from failed
        raise
    if present != place.manifest:
        raise DataChanged(version)
