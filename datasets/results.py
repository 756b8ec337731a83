"""What the import of one version finds: its rows, their figures, and all that is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import numpy as np

from datasets.archives import Refused
from datasets.blocks import LAYOUTS
from datasets.columns import FLAG_BITS, Block
from datasets.fast import DECODERS, Ready, ReadyBlock
from datasets.formats import FORMATS, detect
from datasets.formats.base import Format, RowError, cut, texts, turns
from datasets.growing import GrowingWriter
from datasets.hints import personal_data, said_oddly, suspects
from datasets.joined import Joined
from datasets.models import DatasetVersion
from datasets.pictures import PictureError, Shelf
from datasets.problems import ERROR, KINDS, Problem, excerpt
from datasets.reading import BEGINNING, Passed, Record, Shortcut, Unreadable
from datasets.saved import (
    INLINE,
    LAYOUT,
    PICTURES,
    PROBLEMS,
    ROWS,
    UNPACKED,
    Earlier,
    Saved,
    note_picture,
    take_over,
)
from datasets.sources import (
    MAX_UNPACKED_BYTES,
    TABLES,
    Captions,
    DataFile,
    Item,
    Place,
    Sources,
    inline,
    suffix_of,
)

PROGRESS_SECONDS = 1
# So much work a worker that is killed may lose.
SAVE_SECONDS = 5
# So many are written into the file of all problems, with so much of a wrong record.
NOTED_PROBLEMS = 1_000_000
RECORD_CHARACTERS = 64 * 1024
# Records, and bytes of the file, that the format is told from.
HEAD_RECORDS = 50
HEAD_BYTES = 8 * 1024 * 1024
# Rows are written, and searched for personal data, in blocks.
BLOCK_BYTES = 256 * 1024

Report = Callable[[int], None]
Keep = Callable[[Saved], None]


@dataclass(slots=True)
class _Kept:
    """A good row that waits to be written: where it comes from, its line and its figures."""

    file: str
    line: bytes
    at: Record | Ready
    turns: int
    characters: int
    flags: int


class Result:
    """What the import of one version has found so far. In `directory`, which is the import's own, the rows go to ROWS
    (datasets/columns.py), and all problems to PROBLEMS, one JSON object a line.

    `fixed_row_type` is the kind of rows that the version must have, "" where its data decide. `report` is told how
    many bytes of the sources are done, about once a second, and `keep` now and then what lies safe on the disk; both
    may raise to stop the import.
    """

    def __init__(
        self, version: DatasetVersion, directory: Path, fixed_row_type: str, report: Report, keep: Keep
    ) -> None:
        self.version = version
        self.directory = directory
        self.rows_path, self.problems_path = directory / ROWS, directory / PROBLEMS
        self.columns: GrowingWriter | None = None
        # What another attempt has left is copied into them before the first one is written.
        self._problems_file = self.problems_path.open("ab")
        self._pictures_file = (directory / PICTURES).open("ab")
        self.fixed_row_type = fixed_row_type
        self.report = report
        self.keep = keep
        (directory / UNPACKED).mkdir()
        self.sources = Sources(directory / UNPACKED)
        self.shelf = Shelf(version)
        self.format: Format | None = FORMATS.get(version.format)
        self.chosen = self.format is not None
        self.noted = 0
        self.kinds: dict[str, int] = {}
        # Bytes of the sources that are done.
        self.passed = 0
        self.reported_at = self.saved_at = monotonic()
        # Rows that are counted but not written yet, each with its file and where it comes from.
        self._block: list[_Kept] = []
        self._block_bytes = 0
        self._hasher = ThreadPoolExecutor(1, "hash")
        self._hashing: Future[None] | None = None
        # The file that is read, and what of it was taken before.
        self._number, self._start = 0, BEGINNING
        self._begin_with(Earlier())

    def _begin_with(self, earlier: Earlier) -> None:
        self.hash, self._seen = earlier.hash, earlier.seen
        self.rows, self.bytes = earlier.rows, earlier.bytes
        self.turns, self.characters = earlier.turns, earlier.characters
        self.problems, self._shown = earlier.problems, earlier.shown
        self._stored = earlier.pictures
        self.shelf.used |= earlier.used

    def read(self, saved: Saved | None = None, old: Path | None = None) -> None:
        """Reads every source file, and ends the file of rows; raises what `report` and `keep` raise.

        What an attempt has left in the directory `old` is taken over where it belongs to the same sources.
        """
        left_out = [
            one for source in self.version.files.all() for one in self.sources.add(source, self._tell)
        ]
        captions = self.sources.take_captions()
        if not (saved and old and self._go_on(saved, old)):
            for one in left_out:
                self._problem(one.name, one.kind, one.params)
        self.columns = GrowingWriter(self.rows_path)
        for number, file in enumerate(self.sources.files):
            if number >= self._number:
                self._number = number
                self._read_file(file)
                self._start = BEGINNING
            self.passed += file.share
            self._tell(0, now=True)
        self._number = len(self.sources.files)
        if captions:
            self._read_captions(captions)
            self._write()
        elif self.rows:
            self._name_unused_pictures()
        self.close()

    def close(self) -> None:
        """Ends the files. Without an error they hold everything then."""
        if self.columns:
            self.columns.close()
        self._hasher.shutdown()
        self._problems_file.close()
        self._pictures_file.close()

    # --- Killed and taken over -------------------------------------------------------------------------------

    def _go_on(self, saved: Saved, old: Path) -> bool:
        """Takes over what another attempt has left; False where that cannot be used."""
        if saved.sources != self._identity():
            return False
        earlier = take_over(saved, old, self.directory)
        if earlier is None:
            return False
        self._begin_with(earlier)
        self.noted, self.kinds = saved.noted, dict(saved.kinds)
        self.format = FORMATS[saved.format]
        self._number, self._start = saved.file, saved.passed
        return True

    def _identity(self) -> str:
        """Stands for the files, their order, and how they are read."""
        parts = [self.version.format, [file.identity for file in self.sources.files]]
        return sha256(msgspec.json.encode(parts)).hexdigest()[:16]

    def _save(self, passed: Passed) -> None:
        """Brings to the disk what was found so far, and has it kept."""
        self._write()
        assert self.columns and self.format
        sizes = [self.columns.save()]
        for file in (self._problems_file, self._pictures_file):
            file.flush()
            os.fsync(file.fileno())
            sizes.append(os.fstat(file.fileno()).st_size)
        self.keep(
            Saved(
                layout=LAYOUT,
                attempt=self.version.import_attempt,
                sources=self._identity(),
                file=self._number,
                passed=passed,
                sizes=(sizes[0], sizes[1], sizes[2]),
                rows=self.rows,
                kinds=self.kinds,
                noted=self.noted,
                format=self.format.key,
            )
        )
        self.saved_at = monotonic()

    def _tell(self, more: int, now: bool = False) -> None:
        if now or monotonic() - self.reported_at > PROGRESS_SECONDS:
            self.reported_at = monotonic()
            self.report(min(self.passed + more, self.version.size))

    # --- Files -----------------------------------------------------------------------------------------------

    def _read_file(self, file: DataFile) -> None:
        try:
            shortcut = Shortcut()
            with file.reading(shortcut, self._start) as (stream, scale):
                self._read_records(file, stream, scale, shortcut)
                self._write()
        except FileNotFoundError:
            self._problem(file.name, "file_missing")
        except Refused as error:
            self._problem(file.name, error.kind, error.params)

    def _read_records(self, file: DataFile, stream: Iterator[Item], scale: float, shortcut: Shortcut) -> None:
        head: list[Item] = []
        if not self._start.items:
            head = self._head(stream)
            if not self._has_format(file, head):
                return
        if self.format:
            shortcut.decode = DECODERS.get(self.format.key)
            shortcut.layout = self.format.key if self.format.key in LAYOUTS else ""
        for taken, item in enumerate(chain(head, stream), self._start.items + 1):
            last = item.line
            if isinstance(item, ReadyBlock):
                last += len(item.lines) - 1
                self._ready_block(file.name, item)
            elif isinstance(item, Ready):
                self._ready(file.name, item)
            elif isinstance(item, Record):
                self._record(file.name, file.place, item)
            else:
                self._unreadable(file.name, item)
            now = monotonic()
            if now - self.reported_at > PROGRESS_SECONDS:
                self._tell(int(item.end * scale))
            if now - self.saved_at > SAVE_SECONDS:
                self._save(Passed(taken, item.end, last))

    @staticmethod
    def _head(stream: Iterator[Item]) -> list[Item]:
        """The first records, which tell the format."""
        head: list[Item] = []
        for item in stream:
            head.append(item)
            if len(head) >= HEAD_RECORDS or item.end > HEAD_BYTES:
                break
        return head

    def _has_format(self, file: DataFile, head: list[Item]) -> bool:
        if not head:
            self._problem(file.name, "no_rows")
            return False
        if self._settle_format(file.name, [item.value for item in head if isinstance(item, Record)]):
            return True
        # What is broken is still said line by line; the rest has no format to be judged by.
        for item in head:
            if isinstance(item, Unreadable):
                self._unreadable(file.name, item)
        return False

    def _read_captions(self, captions: Captions) -> None:
        if not self._settle_format("", [{"image": "-", "prompt": "-"}]):
            return
        for taken, (place, item, share) in enumerate(captions.read(self._start.items), self._start.items + 1):
            if isinstance(item, Unreadable):
                self._unreadable(item.file, item)
            else:
                self._record(item.file, place, item)
            self.passed += share
            self._tell(0)
            if monotonic() - self.saved_at > SAVE_SECONDS:
                self._save(Passed(taken, 0, 0))

    def _name_unused_pictures(self) -> None:
        for place in self.sources.pictures:
            if place not in self._stored:
                self._problem(place[1], "picture_unused")

    def _settle_format(self, name: str, head: list[Any]) -> bool:
        """Finds the format by the first file's head, unless the user chose one; False if a file has another."""
        if not self.chosen and head:
            found = detect(head)
            if found is None:
                self._problem(name, "unknown_format")
                return False
            if self.format is None:
                self.format = found
            if found is not self.format:
                self._problem(name, "other_format", {"found": found.key, "expected": self.format.key})
                return False
        if self.format is None:
            return False
        if self.fixed_row_type and self.format.row_type != self.fixed_row_type:
            self._problem(name, "other_kind", {"found": self.format.key, "kind": self.fixed_row_type})
            return False
        return True

    # --- Records ---------------------------------------------------------------------------------------------

    def _record(self, name: str, place: Place, record: Record) -> None:
        assert self.format is not None
        try:
            row = self.format.row(record.value)
            if "image" in row:
                row["image"] = self._picture(row["image"], place, bool(record.file))
            had = cut(row)
            line = msgspec.json.encode(row)
        except RowError as error:
            self._problem(name, error.kind, error.params, record, error.field)
            return
        except PictureError as error:
            self._problem(name, error.kind, error.params, record, "image")
            return
        except UnicodeEncodeError:
            self._problem(name, "surrogate", None, record)
            return
        warned = [record.hint] if record.hint else []
        if (kept := turns(row)) < had:
            self._problem(name, "turns_cut", {"turns": had, "limit": kept}, record)
            warned.append("turns_cut")
        if record.hint:
            self._problem(name, record.hint, None, record)
        for kind in said_oddly(row.get("messages", [])):
            self._problem(name, kind, None, record)
            warned.append(kind)
        flags = sum(FLAG_BITS.get(kind, 0) for kind in warned)
        self._keep(_Kept(name, line, record, kept, sum(map(len, texts(row))), flags))

    def _ready(self, name: str, ready: Ready) -> None:
        flags = 0
        if ready.mixes_languages:
            self._problem(name, "mixed_languages", None, ready)
            flags = FLAG_BITS["mixed_languages"]
        self._keep(_Kept(name, ready.json, ready, ready.turns, ready.characters, flags))

    def _ready_block(self, name: str, block: ReadyBlock) -> None:
        self._write()
        flags = block.mixes_languages * FLAG_BITS["mixed_languages"]
        found = [(int(number), "mixed_languages") for number in np.flatnonzero(flags)]
        keys = block.lines.digests()
        found += self._warnings(block.lines, keys)
        for number, kind in sorted(found):
            self._problem(name, kind, None, block.ready(number))
            flags[number] |= FLAG_BITS[kind]
        self.rows += len(block.lines)
        self.turns += int(block.turns.sum())
        self.characters += int(block.characters.sum())
        places = np.arange(block.line, block.line + len(block.lines))
        figures = block.turns, block.characters, block.languages
        assert self.columns
        self.columns.add_block(Block(block.lines, *figures, flags, keys, name, places))
        self._check_size()

    def _keep(self, row: _Kept) -> None:
        """Counts a row, and puts it with those that are to be written."""
        self.rows += 1
        self.turns += row.turns
        self.characters += row.characters
        self._block.append(row)
        self._block_bytes += len(row.line) + 1
        if self._block_bytes >= BLOCK_BYTES:
            self._write()

    def _write(self) -> None:
        """Writes the rows that wait."""
        if not self._block:
            return
        assert self.columns
        lines = Joined.of([row.line for row in self._block])
        for number, kind in sorted(self._warnings(lines, lines.digests())):
            row = self._block[number]
            self._problem(row.file, kind, None, row.at)
            row.flags |= FLAG_BITS[kind]
        for row in self._block:
            place = row.at.line if row.at.row is None else row.at.row
            self.columns.add(row.line, row.turns, row.characters, row.flags, row.file, place)
        self._block.clear()
        self._block_bytes = 0
        self._check_size()

    def _warnings(self, lines: Joined, keys: Any) -> list[tuple[int, str]]:
        """Takes in lines and their digests; returns which ones came before or seem to hold personal data."""
        self._hash(lines.content)
        self.bytes += len(lines.content)
        found = [(int(number), "duplicate") for number in np.flatnonzero(self._seen.add(keys))]
        for number in suspects(lines):
            found += [(number, kind) for kind in personal_data(lines[number])]
        return found

    def _hash(self, content: bytes) -> None:
        """Takes the rows into their hash, beside the work that goes on."""
        if self._hashing:
            self._hashing.result()
        self._hashing = self._hasher.submit(self.hash.update, content)

    def _check_size(self) -> None:
        if self.bytes > MAX_UNPACKED_BYTES:
            raise Refused("rows_too_large", limit=MAX_UNPACKED_BYTES // 1024**3)

    def _picture(self, reference: str | bytes, place: Place, is_pair: bool) -> str:
        """Stores what a record refers to; returns what rows call it. Raises PictureError.

        A pair of a picture and its caption knows the place of the picture itself.
        """
        if isinstance(reference, bytes) or reference.startswith("data:"):
            name = self.shelf.put(inline(reference))
            note_picture(self._pictures_file, INLINE, name)
            return name
        key = place if is_pair else self.sources.find(reference, place)
        if key not in self._stored:
            self._stored[key] = self._store(key)
            note_picture(self._pictures_file, key, self._stored[key])
        stored = self._stored[key]
        if isinstance(stored, PictureError):
            raise stored
        return stored

    def _store(self, place: Place) -> str | PictureError:
        try:
            with self.sources.picture(place) as file:
                return self.shelf.put(file)
        except PictureError as error:
            return error
        except FileNotFoundError:
            return PictureError("picture_missing", name=place[1][-100:])

    # --- Problems --------------------------------------------------------------------------------------------

    def refuse(self, kind: str, params: dict[str, Any]) -> None:
        """Leaves out all rows for one reason."""
        self.rows = self.turns = self.characters = 0
        self._problem("", kind, params)

    def _unreadable(self, name: str, item: Unreadable) -> None:
        self._problem(name, item.kind, item.params, item)

    def _problem(
        self,
        name: str,
        kind: str,
        params: dict[str, Any] | None = None,
        at: Record | Ready | Unreadable | None = None,
        field: str = "",
    ) -> None:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        is_error = KINDS[kind].level == ERROR
        is_shown = self._shown.takes(kind)
        if not is_shown and self.noted >= NOTED_PROBLEMS:
            return
        problem = Problem(
            file=_storable(name),
            line=at.line if at else None,
            row=at.row if at else None,
            field=field,
            kind=kind,
            params={key: _storable(value) for key, value in (params or {}).items()},
            excerpt=_storable(excerpt(at.text)) if at else "",
        )
        self.noted += 1
        self._note(problem, _record_text(name, at) if at and is_error else "")
        if is_shown:
            self.problems.append(problem)

    def _note(self, problem: Problem, record: str) -> None:
        """Writes a problem into the file of all problems, with the start of its record so that it can be mended."""
        noted = {**problem, "record": _storable(record[:RECORD_CHARACTERS])} if record else problem
        self._problems_file.write(msgspec.json.encode(noted) + b"\n")


def _record_text(name: str, at: Record | Ready | Unreadable) -> str:
    """A record as somebody can mend it: its text, or of a row of a table its JSON without binary cells."""
    if isinstance(at, Record) and suffix_of(name) in (".csv", ".tsv", *TABLES):
        return json.dumps(
            at.value, ensure_ascii=False, default=lambda cell: "" if isinstance(cell, bytes) else str(cell)
        )
    return at.text


def _storable(value: Any) -> Any:
    """PostgreSQL keeps no NUL and no half characters in JSON."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", " ").encode("utf-8", "replace").decode()
