"""The import of uploaded files into a version: read, check, write canonical rows, count.

Any number of workers may be told to import a version, any number of times, and any of them may be killed at any
moment:
1. A worker claims the version by a conditional UPDATE that also raises `import_attempt`; it must change 1 row.
2. It keeps `import_heartbeat_at` fresh. A version whose heartbeat is stale may be claimed by another worker.
3. Rows are written to a file of the attempt's own. Every later UPDATE asks for the same attempt, so a worker that
   lost its claim changes nothing, stops and removes its file.
4. The last UPDATE makes the result visible, all of it at once.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain
from time import monotonic
from typing import IO, Any

import msgspec
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Now

from datasets.formats import FORMATS, detect
from datasets.formats.base import Format, RowError, cut, turns
from datasets.models import DatasetVersion, SourceFile, VersionState
from datasets.problems import Problem, error_count, excerpt
from datasets.reading import Record, Unreadable, records
from datasets.storage import seekable

logger = logging.getLogger(__name__)

STALE_SECONDS = 30
HEARTBEAT_SECONDS = 5
PROGRESS_SECONDS = 1
KEPT_PROBLEMS = 1000
# Records, and bytes of the file, that the format is told from.
HEAD_RECORDS = 50
HEAD_BYTES = 8 * 1024 * 1024


class _ClaimLost(Exception):
    """Another worker imports the version, or its files were replaced."""


def stale_imports() -> list[int]:
    """Ids of the versions that wait for a worker, or whose worker died."""
    return list(_claimable().values_list("pk", flat=True))


def _claimable() -> Any:
    silent = Q(import_heartbeat_at=None) | Q(import_heartbeat_at__lt=Now() - timedelta(seconds=STALE_SECONDS))
    return DatasetVersion.objects.filter(silent, state=VersionState.IMPORTING)


def run_import(version_id: int) -> bool:
    """Imports a version if nobody else does. Returns whether this call carried the import to its end.

    The version ends as draft (warnings at most) or as failed (errors). Also of a failed version the good rows are
    kept, for the user to take them without the bad ones. What is wrong with data never raises; storage and
    database may, after which the version is marked as failed as far as that is possible.
    """
    version = _claim(version_id)
    if version is None:
        return False
    try:
        with _heartbeat(version), tempfile.TemporaryFile() as file:
            result = _Result(version, file)
            result.read_files()
            result.publish()
    except _ClaimLost:
        logger.info("import of %s: another worker has it", version.uid)
        return False
    except Exception:
        logger.exception("import of %s stopped", version.uid)
        problem = Problem(file="", line=None, row=None, field="", kind="unexpected", params={}, excerpt="")
        _mine(version).update(
            state=VersionState.FAILED,
            problem_count=1,
            problems=[problem],
            problem_kinds={"unexpected": 1},
        )
        raise
    return True


def _claim(version_id: int) -> DatasetVersion | None:
    """Takes the version for this worker; None if somebody else has it or there is nothing to import."""
    version = _claimable().filter(pk=version_id).first()
    if version is None:
        return None
    # Compare and swap: of two workers that read the same attempt one changes the row.
    claimed = _claimable().filter(pk=version_id, import_attempt=version.import_attempt)
    if not claimed.update(import_attempt=F("import_attempt") + 1, import_heartbeat_at=Now(), progress=0):
        return None
    version.import_attempt += 1
    return version


def _mine(version: DatasetVersion) -> Any:
    """The version as long as this worker's claim holds."""
    return DatasetVersion.objects.filter(
        pk=version.pk, state=VersionState.IMPORTING, import_attempt=version.import_attempt
    )


@contextmanager
def _heartbeat(version: DatasetVersion) -> Iterator[None]:
    """Keeps the claim while the storage takes or gives a large file, which can take longer than the claim lasts.

    A thread, because those calls give no sign of progress. Whether the claim still holds is the importing
    thread's question, not this one's.
    """
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                _mine(version).update(import_heartbeat_at=Now())
            except Exception:
                logger.exception("import of %s: no heartbeat", version.uid)
            finally:
                connection.close()

    thread = threading.Thread(target=beat, name=f"heartbeat-{version.uid}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Result:
    """What the import of one version has found so far."""

    def __init__(self, version: DatasetVersion, file: IO[bytes]) -> None:
        self.version = version
        self.file = file
        self.hash = hashlib.sha256()
        self.format: Format | None = FORMATS.get(version.format)
        self.chosen = self.format is not None
        self.rows = 0
        self.turns = 0
        self.characters = 0
        self.problems: list[Problem] = []
        self.kinds: dict[str, int] = {}
        # Bytes of the files that are done.
        self.passed = 0
        self.reported_at = monotonic()

    def read_files(self) -> None:
        """Reads every source file; raises _ClaimLost."""
        for source in self.version.files.all():
            try:
                with seekable(source.path) as file:
                    self._read_file(source, file)
            except FileNotFoundError:
                self._problem(source, "file_missing")
            self.passed += source.size
            self._report(self.passed)

    def _read_file(self, source: SourceFile, file: IO[bytes]) -> None:
        stream = records(file, source.name)
        head = []
        for item in stream:
            head.append(item)
            if len(head) >= HEAD_RECORDS or item.end > HEAD_BYTES:
                break
        if not head:
            self._problem(source, "no_rows")
            return
        if not self._settle_format(source, [item.value for item in head if isinstance(item, Record)]):
            # What is broken is still said line by line; the rest has no format to be judged by.
            for item in head:
                if isinstance(item, Unreadable):
                    self._unreadable(source, item)
            return
        for item in chain(head, stream):
            if isinstance(item, Unreadable):
                self._unreadable(source, item)
            else:
                self._record(source, item)
            if monotonic() - self.reported_at > PROGRESS_SECONDS:
                self._report(min(self.passed + item.end, self.passed + source.size))

    def _settle_format(self, source: SourceFile, head: list[Any]) -> bool:
        """Finds the format by the first file's head, unless the user chose one; False if a file has another."""
        if self.chosen:
            return True
        if not head:
            return self.format is not None
        found = detect(head)
        if self.format is None:
            self.format = found
        if found is None:
            self._problem(source, "unknown_format")
        elif found is not self.format:
            params = {"found": found.key, "expected": self.format.key if self.format else ""}
            self._problem(source, "other_format", params)
        return found is not None and found is self.format

    def _record(self, source: SourceFile, record: Record) -> None:
        assert self.format is not None
        try:
            row = self.format.row(record.value)
            had = cut(row)
            line = msgspec.json.encode(row)
        except RowError as error:
            self._problem(source, error.kind, error.params, record, error.field)
            return
        except UnicodeEncodeError:
            self._problem(source, "surrogate", None, record)
            return
        if (kept := turns(row)) < had:
            self._problem(source, "turns_cut", {"turns": had, "limit": kept}, record)
        line += b"\n"
        self.file.write(line)
        self.hash.update(line)
        self.rows += 1
        self.turns += kept
        self.characters += sum(len(message["content"]) for message in row["messages"])

    def _unreadable(self, source: SourceFile, item: Unreadable) -> None:
        self._problem(source, item.kind, item.params, item)

    def _problem(
        self,
        source: SourceFile,
        kind: str,
        params: dict[str, Any] | None = None,
        at: Record | Unreadable | None = None,
        field: str = "",
    ) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if len(self.problems) >= KEPT_PROBLEMS:
            return
        self.problems.append(
            Problem(
                file=source.name,
                line=at.line if at else None,
                row=at.row if at else None,
                field=field,
                kind=kind,
                params={name: _storable(value) for name, value in (params or {}).items()},
                excerpt=_storable(excerpt(at.text)) if at else "",
            )
        )

    def _report(self, progress: int) -> None:
        """Saves how far the import is; raises _ClaimLost."""
        self.reported_at = monotonic()
        if not _mine(self.version).update(progress=progress, import_heartbeat_at=Now()):
            raise _ClaimLost

    def publish(self) -> None:
        """Stores the rows and makes the result visible; raises _ClaimLost."""
        version, path = self.version, ""
        if self.rows:
            self.file.seek(0)
            wanted = f"datasets/{version.uid}/rows-{version.import_attempt}.jsonl"
            path = default_storage.save(wanted, File(self.file))
        ended = _mine(version).update(
            state=VersionState.FAILED if error_count(self.kinds) else VersionState.DRAFT,
            format=self.format.key if self.format else version.format,
            row_count=self.rows,
            turn_count=self.turns,
            character_count=self.characters,
            content_hash=self.hash.hexdigest() if self.rows else "",
            rows_path=path,
            progress=F("size"),
            problem_count=sum(self.kinds.values()),
            problems=self.problems,
            problem_kinds=self.kinds,
            import_heartbeat_at=Now(),
        )
        if not ended:
            if path:
                default_storage.delete(path)
            raise _ClaimLost
        _remove_other_rows(version, path)


def _storable(value: Any) -> Any:
    """PostgreSQL keeps no NUL and no half characters in JSON."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", " ").encode("utf-8", "replace").decode()


def _remove_other_rows(version: DatasetVersion, path: str) -> None:
    """Removes what earlier attempts left in the storage."""
    folder = f"datasets/{version.uid}"
    try:
        names = default_storage.listdir(folder)[1]
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith("rows") and f"{folder}/{name}" != path:
            default_storage.delete(f"{folder}/{name}")
