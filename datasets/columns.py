"""The rows of a version in the storage: one Parquet file, a canonical row with its figures a row.

    line        the canonical JSON of the row (datasets/formats/base.py), UTF-8, without a newline
    turns       replies; those that are compared with each other count once
    characters  of all texts
    language    an index of LANGUAGES
    flags       bit i is set where the import warned of ROW_FLAGS[i]
    digest      64 bits that stand for the line
    file, place where the row was read: name of the file; line of its record, or number of the record in a list

Row groups are small enough to be read for a page and large enough to be searched quickly. The figures of all rows
are read in a moment, whatever the rows hold, because each column lies by itself.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from console.disks import on_disk
from datasets.joined import Joined
from datasets.models import DatasetVersion
from datasets.storage import in_parts

LANGUAGES = ("other", "zh", "en", "mixed")
# Kinds of datasets.problems.KINDS that concern one good row. New ones are added at the end.
ROW_FLAGS = (
    "duplicate",
    "mixed_languages",
    "phone_number",
    "identity_number",
    "email_address",
    "turns_cut",
    "empty_reply",
)
FLAG_BITS = {kind: 1 << number for number, kind in enumerate(ROW_FLAGS)}

SCHEMA = pa.schema(
    [
        pa.field("line", pa.binary(), nullable=False),
        pa.field("turns", pa.int16(), nullable=False),
        pa.field("characters", pa.int32(), nullable=False),
        pa.field("language", pa.int8(), nullable=False),
        pa.field("flags", pa.int32(), nullable=False),
        pa.field("digest", pa.uint64(), nullable=False),
        pa.field("file", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("place", pa.int64(), nullable=False),
    ]
)
GROUP_ROWS = 16 * 1024
GROUP_BYTES = 16 * 1024**2
# Rows are handed on, or given out, in batches.
BATCH_ROWS = 1024
ROWS_BYTES = 1024**2

# Shorter texts say too little about their language (as datasets/hints.py has it).
LANGUAGE_CHARACTERS = 20
# The share of Chinese characters from which on a text is Chinese, and that of characters outside ASCII (each as two
# for three bytes of UTF-8) up to which it is Latin: accents are few.
HAN_SHARE, LATIN_SHARE = 0.4, 0.05

Array = np.ndarray[Any, Any]


def digest(line: bytes) -> int:
    """64 bits that stand for a canonical line: two different lines among a million have the same with a chance of
    one in 37 million. It is stable, and no defence against people who look for two such lines."""
    return xxhash.xxh3_64_intdigest(line)


def packing() -> dict[str, Any]:
    """How a file of rows is compressed, as arguments of ParquetWriter.

    On a disk it is not: that takes longer than everything else that an import does, readers would have to undo it, and
    the file is no larger than the one that its rows came from. Into an object storage and out of it, half the bytes
    are half the time; level -1 takes a quarter less than 1, for files that are a twentieth larger.
    """
    if on_disk(""):
        return {"compression": "none"}
    return {"compression": "zstd", "compression_level": -1}


class Seen:
    """Tells which lines came before by their digests: 8 bytes a row, however many there are."""

    def __init__(self) -> None:
        # Sorted, each several times as long as the next one, so that there are few of them to search.
        self._runs: list[Array] = []

    def add(self, given: Array) -> Array:
        """True for each digest that was added before, or stands earlier in `given`."""
        order = np.argsort(given, kind="stable")
        ordered = given[order]
        again = np.zeros(len(given), bool)
        again[1:] = ordered[1:] == ordered[:-1]
        for run in self._runs:
            again |= run[np.minimum(np.searchsorted(run, ordered), len(run) - 1)] == ordered
        if not again.all():
            self._runs.append(ordered[~again])
        while len(self._runs) > 1 and len(self._runs[-2]) <= 8 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate((self._runs[-1], last)), kind="stable")
        found = np.zeros(len(given), bool)
        found[order] = again
        return found


@dataclass(slots=True)
class Block:
    """Rows of one file on their way into columns, which are named as in SCHEMA."""

    lines: Joined
    turns: Array
    characters: Array
    languages: Array
    flags: Array
    digests: Array
    file: str
    places: Array


class Writer:
    """Writes rows into a binary file; with `with`, or call `close` at the end. Rows are read back in the order in
    which they were added. A thread writes one row group while the next one is filled."""

    def __init__(self, file: IO[bytes] | pa.NativeFile) -> None:
        self._parquet = self._begun(file)
        self._rows: list[tuple[bytes, int, int, int, str, int]] = []
        self._rows_bytes = 0
        self._tables: list[pa.Table] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._thread = ThreadPoolExecutor(1, "columns")
        self._written: Future[None] | None = None

    @staticmethod
    def _begun(file: IO[bytes] | pa.NativeFile) -> pq.ParquetWriter:
        return pq.ParquetWriter(
            file,
            SCHEMA,
            **packing(),
            use_dictionary=["file"],
            write_statistics=["turns", "characters", "language", "flags"],
        )

    def add(
        self, line: bytes, turns: int, characters: int, flags: int = 0, file: str = "", place: int = 0
    ) -> None:
        """Adds one row; `flags` are bits of FLAG_BITS."""
        self._rows.append((line, turns, characters, flags, file, place))
        self._rows_bytes += len(line)
        if self._rows_bytes >= ROWS_BYTES or len(self._rows) >= BATCH_ROWS:
            self._take_rows()
        self._count(1, len(line))

    def add_block(self, block: Block) -> None:
        """Adds many rows at once."""
        self._take_rows()
        line = block.lines.column()
        columns = (block.turns, block.characters, block.languages, block.flags, block.digests)
        self._tables.append(_table(line, *columns, block.file, block.places))
        self._count(len(line), line.buffers()[2].size)

    def close(self) -> None:
        """Writes what waits and the end of the file; the file itself stays open."""
        if self._parquet.is_open:
            try:
                self._flush()
                self._wait()
            finally:
                self._thread.shutdown()
                self._parquet.close()

    def _count(self, rows: int, size: int) -> None:
        self._waiting_rows += rows
        self._waiting_bytes += size
        if self._waiting_rows >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
            self._flush()

    def _take_rows(self) -> None:
        if self._rows:
            lines, turns, characters, flags, files, places = zip(*self._rows, strict=True)
            joined = Joined.of(lines)
            line = joined.column()
            found = languages(line, np.asarray(characters))
            self._tables.append(
                _table(line, turns, characters, found, flags, joined.digests(), files, places)
            )
            self._rows.clear()
            self._rows_bytes = 0

    def _flush(self) -> None:
        self._take_rows()
        if not self._tables:
            return
        self._wait()
        self._written = self._thread.submit(self._write, self._tables)
        self._tables = []
        self._waiting_rows = self._waiting_bytes = 0

    def _write(self, tables: list[pa.Table]) -> None:
        table = pa.concat_tables(tables).unify_dictionaries()
        self._parquet.write_table(table, row_group_size=table.num_rows)

    def _wait(self) -> None:
        if self._written:
            self._written.result()
            self._written = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _table(
    lines: pa.BinaryArray,
    turns: Any,
    characters: Any,
    language: Any,
    flags: Any,
    digests: Any,
    files: Any,
    places: Any,
) -> pa.Table:
    columns = [
        lines,
        pa.array(np.asarray(turns, np.int16)),
        pa.array(np.asarray(characters, np.int32)),
        pa.array(language, pa.int8()),
        pa.array(np.asarray(flags, np.int32)),
        pa.array(digests, pa.uint64()),
        _files(files, len(lines)),
        pa.array(places, pa.int64()),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _files(files: str | Sequence[str], rows: int) -> pa.DictionaryArray:
    """The names of the rows' files, or the one of all rows."""
    if isinstance(files, str):
        return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([files]))
    return pa.array(files, pa.string()).dictionary_encode()


# --- Languages -----------------------------------------------------------------------------------------------


def languages(lines: pa.BinaryArray, characters: Array) -> Array:
    """Indices of LANGUAGES, one a row, by the characters outside ASCII in it. `characters` are those of its texts:
    what the JSON adds is ASCII."""
    _valid, offsets, data = lines.buffers()
    at = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1]
    content = np.frombuffer(data, np.uint8, at[-1])
    further = np.diff(Counted(content.view(np.int8) < 0xC0 - 256).before(at))
    return language_of(further, np.diff(Counted(is_han(content)).before(at)), characters)


def language_of(further: Array, han: Array, characters: Array) -> Array:
    """Indices of LANGUAGES: of rows with so many bytes that continue a character, Chinese characters, and all."""
    found = np.full(len(characters), LANGUAGES.index("en"), np.int8)
    if further.any():
        count = np.maximum(characters, 1)
        foreign, chinese = further / 2 / count, han / count
        found[foreign >= LATIN_SHARE] = LANGUAGES.index("other")
        found[(foreign >= LATIN_SHARE) & (chinese >= foreign / 2)] = LANGUAGES.index("mixed")
        found[chinese >= HAN_SHARE] = LANGUAGES.index("zh")
    found[characters < LANGUAGE_CHARACTERS] = LANGUAGES.index("other")
    return found


def is_han(content: Array) -> Array:
    """True for the bytes that start a Chinese character: in UTF-8, E4 to E9."""
    marked: Array = (content - 0xE4) <= 0xE9 - 0xE4
    return marked


class Counted:
    """Tells how many of `marked` (booleans) are true before places in it."""

    def __init__(self, marked: Array) -> None:
        # A bit each and 64 at a time: little memory to go through is most of what makes it fast.
        self._words = np.zeros(len(marked) // 64 + 1, np.uint64)
        bits = np.packbits(marked, bitorder="little")
        self._words.view(np.uint8)[: len(bits)] = bits
        self._sums = np.zeros(len(self._words), np.int64)
        np.cumsum(np.bitwise_count(self._words[:-1]), out=self._sums[1:])

    def before(self, at: Array) -> Array:
        # Of the word that a place lies in only the bits before it count.
        rest = self._words[at // 64] & ((np.uint64(1) << (at % 64).astype(np.uint64)) - np.uint64(1))
        count: Array = self._sums[at // 64] + np.bitwise_count(rest)
        return count


# --- Reading -------------------------------------------------------------------------------------------------


@contextmanager
def open_columns(version: DatasetVersion) -> Iterator[pq.ParquetFile]:
    """Opens the rows of a version; of an object storage only what is asked for is fetched.

    Raises FileNotFoundError if the version has no rows or the storage has lost them.
    """
    if not version.rows_path:
        raise FileNotFoundError(f"{version.uid} has no rows in the storage")
    with (
        in_parts(version.rows_path) as file,
        pq.ParquetFile(file, memory_map=False, pre_buffer=False) as parquet,
    ):
        yield parquet


def iter_lines(version: DatasetVersion) -> Generator[bytes, None, None]:
    """Yields the canonical rows in order; raises FileNotFoundError."""
    with open_columns(version) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=["line"], use_threads=False):
            yield from batch.column(0).to_pylist()


def read_lines(version: DatasetVersion, numbers: Sequence[int]) -> list[bytes]:
    """The rows of these numbers (from 0, ascending); only their row groups are read. Raises FileNotFoundError."""
    found: list[bytes] = []
    wanted = np.asarray(numbers, np.int64)
    with open_columns(version) as parquet:
        for group, start, stop in groups(parquet):
            inside = wanted[(wanted >= start) & (wanted < stop)] - start
            if inside.size:
                column = parquet.read_row_group(group, columns=["line"], use_threads=False).column(0)
                found += column.take(pa.array(inside)).to_pylist()
    return found


def groups(parquet: pq.ParquetFile) -> Iterator[tuple[int, int, int]]:
    """Yields the row groups: index, number of its first row (from 0), number after its last row."""
    start = 0
    for group in range(parquet.metadata.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        yield group, start, start + rows
        start += rows
