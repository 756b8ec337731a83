"""How far an import is, kept so that a worker that takes over goes on there instead of at the start.

Each attempt has a directory of its own, on the disk of the storage where it lies on one, so that any worker finds it:
the rows (datasets/growing.py), the problems, the pictures that are stored, all of them files that only grow. The row
of the version in the database says up to which byte of each they belong together, and to which place of the sources.
A worker that takes over copies them so far, since the one before may still live and write, and reads the rows again:
that is a small part of the work that was judging them.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from django.conf import settings

from console.disks import on_disk
from datasets.columns import BATCH_ROWS, Seen
from datasets.models import DatasetVersion
from datasets.noted import Shown, first_of
from datasets.pictures import PictureError
from datasets.problems import Problem
from datasets.reading import Passed
from datasets.sources import Place

logger = logging.getLogger(__name__)

# Another number after a change of what the files hold: then an import begins anew.
LAYOUT = 1
INLINE: Place = (-1, "")
ROWS, PROBLEMS, PICTURES, UNPACKED = "rows.parquet", "problems.jsonl", "pictures.jsonl", "unpacked"
# What reading files raises that a crash of the machine has left in pieces.
_DAMAGE = (OSError, ValueError, KeyError, TypeError, pa.ArrowException, msgspec.MsgspecError)


class Saved(msgspec.Struct, frozen=True):
    """What the row of a version says.

    `sources` stands for the files that are read and their order. Those before number `file` are done, and in that one
    what is `passed`; behind the last one, pictures with captions are counted. The sizes are those of ROWS, PROBLEMS
    and PICTURES in the directory of `attempt`.
    """

    layout: int
    attempt: int
    sources: str
    file: int
    passed: Passed
    sizes: tuple[int, int, int]
    rows: int
    kinds: dict[str, int]
    noted: int
    format: str


@dataclass
class Earlier:
    """What another attempt had found: the rows' hash, digests and figures, its problems and pictures."""

    hash: Any = field(default_factory=hashlib.sha256)
    seen: Seen = field(default_factory=Seen)
    rows: int = 0
    turns: int = 0
    characters: int = 0
    bytes: int = 0
    shown: Shown = field(default_factory=Shown)
    problems: list[Problem] = field(default_factory=list)
    # What became of pictures beside the records; and the names of all that are stored.
    pictures: dict[Place, str | PictureError] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)


def saved_of(version: DatasetVersion) -> Saved | None:
    """What an earlier attempt has left; None if there was none, or of another release of the console."""
    try:
        saved = msgspec.convert(version.import_saved, Saved, strict=False)
    except msgspec.ValidationError:
        return None
    return saved if saved.layout == LAYOUT else None


# --- Directories ---------------------------------------------------------------------------------------------


def directory_of(version: DatasetVersion, attempt: int) -> Path:
    """Where an attempt keeps its files."""
    return _home(version) / f"import-{attempt}"


def remove_directories(version: DatasetVersion, *, but: int = 0) -> None:
    """Removes the directories of a version's attempts, except that of one of them."""
    home = _home(version)
    if home.is_dir():
        for path in home.iterdir():
            if re.fullmatch(r"import-\d+", path.name) and path.name != f"import-{but}":
                shutil.rmtree(path, ignore_errors=True)


def _home(version: DatasetVersion) -> Path:
    folder = f"datasets/{version.uid}"
    return on_disk(folder) or Path(settings.VAR_DIR) / "imports" / version.uid


# --- Taken over ----------------------------------------------------------------------------------------------


def take_over(saved: Saved, old: Path, new: Path) -> Earlier | None:
    """Copies the files of an attempt and reads what it had found; None, with nothing copied, if they are not there
    (another machine may have them) or damaged."""
    try:
        for name, size in zip((ROWS, PROBLEMS, PICTURES), saved.sizes, strict=True):
            _copy(old / name, new / name, size)
        earlier = Earlier()
        _read_pictures(new / PICTURES, earlier)
        earlier.problems = first_of(_problems(new / PROBLEMS), earlier.shown)
        if saved.sizes[0]:
            _read_rows(new / ROWS, earlier)
        if earlier.rows != saved.rows:
            raise ValueError(f"{earlier.rows} rows instead of {saved.rows}")
    except _DAMAGE as error:
        logger.warning("what %s has left cannot be used: %s", old, error)
        (new / ROWS).unlink(missing_ok=True)
        # They are open already.
        for name in (PROBLEMS, PICTURES):
            (new / name).write_bytes(b"")
        return None
    return earlier


def _copy(old: Path, new: Path, size: int) -> None:
    """Copies the first bytes of a file."""
    if not size:
        return
    with old.open("rb") as source, new.open("wb") as copy:
        left = size
        while left and (piece := source.read(min(left, 1024 * 1024))):
            copy.write(piece)
            left -= len(piece)
    if left:
        raise ValueError(f"{old} lacks {left} bytes")


def _read_rows(path: Path, earlier: Earlier) -> None:
    # Otherwise all row groups are read ahead, which are as much as the file.
    with pq.ParquetFile(path, pre_buffer=False) as parquet:
        names = ["line", "turns", "characters", "digest"]
        for batch in parquet.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            joined = b"\n".join(batch.column(0).to_pylist()) + b"\n"
            earlier.hash.update(joined)
            earlier.bytes += len(joined)
            earlier.rows += batch.num_rows
            earlier.turns += int(batch.column(1).to_numpy().sum(dtype=np.int64))
            earlier.characters += int(batch.column(2).to_numpy().sum(dtype=np.int64))
            earlier.seen.add(batch.column(3).to_numpy())


def _problems(path: Path) -> Iterator[Problem]:
    return (msgspec.json.decode(line) for line in _lines(path))


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        with path.open("rb") as file:
            yield from file


# --- Pictures -------------------------------------------------------------------------------------------------


def note_picture(file: IO[bytes], place: Place, stored: str | PictureError) -> None:
    """Writes down what became of a picture; INLINE is the place of one that is part of a record."""
    refusal = [stored.kind, stored.params] if isinstance(stored, PictureError) else None
    file.write(msgspec.json.encode([place, None if refusal else stored, refusal]) + b"\n")


def _read_pictures(path: Path, earlier: Earlier) -> None:
    for line in _lines(path):
        (archive, name), stored, refusal = msgspec.json.decode(line)
        if stored:
            earlier.used.add(PurePosixPath(stored).name)
        if (archive, name) != INLINE:
            earlier.pictures[archive, name] = stored or PictureError(refusal[0], **refusal[1])
