"""The import of uploaded files into a version: read, check, write canonical rows, count.

Any number of workers may be told to import a version, any number of times, and any of them may be killed at any
moment:
1. A worker claims the version by a conditional UPDATE that also raises `import_attempt`; it must change 1 row.
2. It keeps `import_heartbeat_at` fresh. A version whose heartbeat is stale may be claimed by another worker.
3. Rows are written to a file of the attempt's own. Every later UPDATE asks for the same attempt, so a worker that
   lost its claim changes nothing and stops.
4. Every few seconds the row of the version says how far the attempt is (datasets/saved.py). The worker that claims the
   version next goes on there. Where one after another is lost and none gets any further, the import ends: a file can
   bring a library down that takes its process with it.
5. The last UPDATE makes the result visible, all of it at once; then the files of all attempts go.
"""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from console.beating import beating
from console.disks import is_full
from datasets import locations, objects
from datasets.connections import ConnectionFailed
from datasets.models import Dataset, DatasetVersion, Location, VersionState
from datasets.pictures import Shelf
from datasets.problems import error_count, general
from datasets.results import Result
from datasets.saved import Saved, directory_of, remove_directories, saved_of
from datasets.statistics import statistics_of
from datasets.storage import Linked

logger = logging.getLogger(__name__)

STALE_SECONDS = 30
HEARTBEAT_SECONDS = 5
# So many workers may be lost without getting any further. A person may try again.
MAX_LOSSES = 3


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
    version = claim(version_id)
    return version is not None and carry_on(version)


def carry_on(version: DatasetVersion) -> bool:
    """`run_import` of a version that `claim` gave us."""
    try:
        if version.import_losses > MAX_LOSSES:
            _give_up(version)
            return True
        with _heartbeat(version):
            _carry_out(version)
    except _ClaimLost:
        logger.info("import of %s: another worker has it, or it was cancelled", version.uid)
        _tidy_cancelled(version)
        return False
    except Exception as error:
        if not _fail(version, "disk_full" if is_full(error) else "unexpected"):
            # Whoever has it now may have removed the files of this attempt.
            logger.info("import of %s: another worker has it", version.uid, exc_info=True)
            return False
        logger.exception("import of %s stopped", version.uid)
        remove_directories(version)
        raise
    return True


def _give_up(version: DatasetVersion) -> None:
    """Ends an import that takes its workers with it."""
    if _fail(version, "worker_lost"):
        logger.error("import of %s was given up: %d workers were lost", version.uid, version.import_losses)
        remove_directories(version)


def _fail(version: DatasetVersion, kind: str) -> bool:
    """Ends the import with one problem of no particular place; False if another worker has it."""
    ended = _mine(version).update(
        state=VersionState.FAILED,
        problem_count=1,
        problems=[general(kind)],
        problem_kinds={kind: 1},
        import_saved={},
    )
    return bool(ended)


def _carry_out(version: DatasetVersion) -> None:
    saved = saved_of(version)
    directory = directory_of(version, version.import_attempt)
    directory.mkdir(parents=True)
    report = partial(_report, version)
    with closing(
        Result(version, directory, _fixed_row_type(version), report, partial(_keep, version))
    ) as result:
        place = None
        try:
            result.report = objects.fetch(version, report)
            place = locations.begin(version, result)
            result.read(saved, directory_of(version, saved.attempt) if saved else None)
            locations.check_kind(place, result)
        except ConnectionFailed as failed:
            result.refuse("connection_failed", {"reason": str(failed)})
    _publish(version, result, place)


def _keep(version: DatasetVersion, saved: Saved) -> None:
    """Saves what the next worker could go on with; raises _ClaimLost."""
    if not _mine(version).update(import_saved=msgspec.to_builtins(saved), import_losses=0):
        raise _ClaimLost
    remove_directories(version, but=version.import_attempt)


@transaction.atomic
def _tidy_cancelled(version: DatasetVersion) -> None:
    """Removes what an import that was cancelled has left; its lock keeps another one from starting meanwhile."""
    now = DatasetVersion.objects.select_for_update().filter(pk=version.pk).first()
    if now and now.import_attempt == version.import_attempt and "cancelled" in now.problem_kinds:
        Shelf(now).remove_others()
        remove_directories(now)


def claim(version_id: int) -> DatasetVersion | None:
    """Takes the version for this process; None if somebody else has it or there is nothing to import."""
    version = _claimable().filter(pk=version_id).first()
    if version is None:
        return None
    # Compare and swap: of two workers that read the same attempt one changes the row.
    claimed = _claimable().filter(pk=version_id, import_attempt=version.import_attempt)
    losses = version.import_losses + 1 if version.import_heartbeat_at else 0
    # What another worker has saved takes a while to be taken over; meanwhile it counts.
    progress = version.progress if version.import_saved else 0
    taken = {"import_attempt": F("import_attempt") + 1, "import_losses": losses, "progress": progress}
    if not claimed.update(import_heartbeat_at=Now(), **taken):
        return None
    version.import_attempt += 1
    version.import_losses = losses
    return version


def _mine(version: DatasetVersion) -> Any:
    """The version as long as this worker's claim holds."""
    return DatasetVersion.objects.filter(
        pk=version.pk, state=VersionState.IMPORTING, import_attempt=version.import_attempt
    )


def _report(version: DatasetVersion, progress: int) -> None:
    """Saves how far the import is; raises _ClaimLost."""
    if not _mine(version).update(progress=progress, import_heartbeat_at=Now()):
        raise _ClaimLost


def _heartbeat(version: DatasetVersion) -> AbstractContextManager[None]:
    """Keeps the claim while the storage takes or gives a large file, which can take longer than the claim lasts.

    Whether the claim still holds is the importing thread's question, not this one's.
    """
    return beating(
        f"import-{version.uid}",
        HEARTBEAT_SECONDS,
        lambda: _mine(version).update(import_heartbeat_at=Now()),
    )


def _publish(version: DatasetVersion, result: Result, place: Location | None) -> None:
    """Stores rows and problems and makes the result visible; raises _ClaimLost."""
    folder = f"datasets/{version.uid}"
    path = problems_path = ""
    figures: dict[str, Any] = {}
    if result.rows:
        with pq.ParquetFile(result.rows_path) as parquet:
            figures = statistics_of(parquet)
        if place is None:
            path = _stored(result.rows_path, f"{folder}/rows-{version.import_attempt}.parquet")
    if result.noted:
        problems_path = _stored(result.problems_path, f"{folder}/problems-{version.import_attempt}.jsonl")
    try:
        with transaction.atomic():
            _end(version, result, path, problems_path, figures)
            locations.settle(version, place)
    except _ClaimLost:
        for left in filter(None, (path, problems_path)):
            default_storage.delete(left)
        raise


def _stored(path: Path, name: str) -> str:
    """Puts a file of the attempt into the storage, on the same disk without copying it."""
    with path.open("rb") as file:
        return default_storage.save(name, Linked(file))


def _end(
    version: DatasetVersion, result: Result, path: str, problems_path: str, figures: dict[str, Any]
) -> None:
    """The one change that makes the result visible; raises _ClaimLost."""
    dataset = Dataset.objects.select_for_update().get(pk=version.dataset_id)
    row_type = result.format.row_type if result.format else ""
    if result.rows and row_type != dataset.row_type:
        if _fixed_row_type(version):
            # Another version of the dataset was imported meanwhile.
            params = {"found": result.format.key if result.format else "", "kind": dataset.row_type}
            result.refuse("other_kind", params)
            path, figures = "", {}
        else:
            dataset.row_type = row_type
            dataset.save(update_fields=["row_type"])
    ended = _mine(version).update(
        state=VersionState.FAILED if error_count(result.kinds) else VersionState.DRAFT,
        format=result.format.key if result.format else version.format,
        row_count=result.rows,
        turn_count=result.turns,
        character_count=result.characters,
        content_hash=result.hash.hexdigest() if result.rows else "",
        rows_path=path,
        problems_path=problems_path,
        statistics=figures,
        progress=F("size"),
        problem_count=sum(result.kinds.values()),
        problems=result.problems,
        problem_kinds=result.kinds,
        import_heartbeat_at=Now(),
        import_saved={},
    )
    if not ended:
        raise _ClaimLost
    # Within the transaction: its lock keeps a new upload from being imported while files are removed.
    _remove_others(version, {path, problems_path})
    remove_directories(version)
    result.shelf.remove_others()


def _fixed_row_type(version: DatasetVersion) -> str:
    """The kind of rows that the version must have: that of the dataset's other versions; "" without any."""
    others = version.dataset.versions.exclude(pk=version.pk).filter(row_count__gt=0)
    return version.dataset.row_type if others.exists() else ""


def _remove_others(version: DatasetVersion, kept: set[str]) -> None:
    """Removes what earlier attempts left in the storage."""
    folder = f"datasets/{version.uid}"
    try:
        names = default_storage.listdir(folder)[1]
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(("rows", "problems")) and f"{folder}/{name}" not in kept:
            default_storage.delete(f"{folder}/{name}")
