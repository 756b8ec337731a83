"""Tokenised rows in a file of Arrow batches, of which memory holds no more than what is being read.

A run on two million conversations has a billion tokens. The file is mapped: its pages are the system's to drop.
"""

import mmap
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import msgspec
import numpy as np
import pyarrow as pa

from jobs.training.rows import IGNORED, Prepared, Tokens

SCHEMA = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])


class Figures(msgspec.Struct):
    """What stands at the end of a file: sums over its rows, and the counts of `Prepared`."""

    tokens: int = 0
    trained_tokens: int = 0
    longest: int = 0
    truncated_rows: int = 0
    dropped_rows: int = 0
    joined_rows: int = 0
    system_merged: int = 0
    split_rows: int = 0


class TokenRows(Sequence[Tokens]):
    """The rows of a table of SCHEMA, read when they are asked for."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, index: Any) -> Any:
        return next(_tokens(self.table.slice(index, 1).to_batches()))

    def __iter__(self) -> Iterator[Tokens]:
        return _tokens(self.table.to_batches())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenRows) and self.table.equals(other.table)

    __hash__ = None  # type: ignore[assignment]


def _tokens(batches: Iterable[pa.RecordBatch]) -> Iterator[Tokens]:
    for batch in batches:
        for ids, labels in zip(batch.column(0), batch.column(1), strict=True):
            yield Tokens(*(array("i", row.values.to_numpy().tobytes()) for row in (ids, labels)))


@dataclass
class Tokenised(Prepared):
    """As `Prepared`; its rows lie in a file, and their sums beside them."""

    rows: TokenRows = field(default_factory=lambda: TokenRows(SCHEMA.empty_table()))  # type: ignore[assignment]
    figures: Figures = field(default_factory=Figures)

    def tokens(self) -> int:
        return self.figures.tokens

    def trained_tokens(self) -> int:
        return self.figures.trained_tokens

    def longest(self) -> int:
        return self.figures.longest


class TokenWriter:
    """Writes rows into a binary file, a block at a time; `close` writes what `read` wants to know."""

    def __init__(self, file: IO[bytes]) -> None:
        self._stream = pa.ipc.new_stream(file, SCHEMA)
        self._figures = Figures()

    def add(self, rows: Sequence[Tokens]) -> None:
        if not rows:
            return
        offsets = np.zeros(len(rows) + 1, np.int32)
        lengths = [len(row) for row in rows]
        np.cumsum(lengths, out=offsets[1:])
        values = [
            np.concatenate([np.frombuffer(part, np.int32) for part in column])
            for column in ([row.input_ids for row in rows], [row.labels for row in rows])
        ]
        columns = [pa.ListArray.from_arrays(offsets, column) for column in values]
        self._stream.write_batch(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
        self._figures.tokens += int(offsets[-1])
        self._figures.trained_tokens += int((values[1] != IGNORED).sum())
        self._figures.longest = max(self._figures.longest, *lengths)

    def close(self, prepared: Prepared) -> None:
        for name in _COUNTS:
            setattr(self._figures, name, getattr(prepared, name))
        self._stream.write_batch(
            pa.RecordBatch.from_pylist([], schema=SCHEMA), {"figures": msgspec.json.encode(self._figures)}
        )
        self._stream.close()


_COUNTS = ("truncated_rows", "dropped_rows", "joined_rows", "system_merged", "split_rows")


def read(file: IO[bytes]) -> Tokenised:
    """What a TokenWriter wrote. The file may be closed and removed afterwards; its content stays until the rows are no
    longer used. Raises OSError, ValueError for a file that is not whole (pyarrow's errors are of these)."""
    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    batches: list[pa.RecordBatch] = []
    figures = None
    with pa.ipc.open_stream(pa.py_buffer(mapped)) as stream:
        for batch, said in stream.iter_batches_with_custom_metadata():
            if said:
                figures = msgspec.json.decode(said["figures"], type=Figures)
            else:
                batches.append(batch)
    if figures is None:
        raise ValueError("the file ends before its figures")
    counts = {name: getattr(figures, name) for name in _COUNTS}
    return Tokenised(rows=TokenRows(pa.Table.from_batches(batches, SCHEMA)), figures=figures, **counts)
