"""Reads the canonical rows of a version, wherever they lie."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain, islice
from typing import Any

import msgspec
import numpy as np

from datasets import locations
from datasets.columns import digest, iter_lines, open_columns, read_lines
from datasets.models import DatasetVersion

PIECE_ROWS = 256
DIGEST_ROWS = 64 * 1024


def iter_rows(version: DatasetVersion) -> Generator[bytes, None, None]:
    """Yields every row as its canonical JSON line, UTF-8 without the newline, in the order of the version.

    Raises FileNotFoundError if the storage has lost the file.
    """
    if version.rows_path:
        yield from iter_lines(version)
    else:
        yield from locations.iter_rows(version)


def page_of_rows(version: DatasetVersion, offset: int, limit: int) -> list[dict[str, Any]]:
    """Decodes `limit` rows from number `offset` (from 0) on."""
    if version.rows_path:
        lines = read_lines(version, range(offset, offset + limit))
        return [msgspec.json.decode(line) for line in lines]
    if locations.place_of(version):
        return locations.page_of_rows(version, offset, limit)
    return []


def digests_of(version: DatasetVersion) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The digest (datasets/columns.py) of every row in order. Raises FileNotFoundError, ConnectionFailed."""
    if not version.row_count:
        return np.empty(0, np.uint64)
    if not version.rows_path:
        # Used in place: there are no columns.
        return np.fromiter(map(digest, iter_rows(version)), np.uint64)
    with open_columns(version) as parquet:
        found = np.empty(parquet.metadata.num_rows, np.uint64)
        at = 0
        for batch in parquet.iter_batches(DIGEST_ROWS, columns=["digest"], use_threads=False):
            found[at : at + batch.num_rows] = batch.column(0).to_numpy()
            at += batch.num_rows
        return found


def json_lines(version: DatasetVersion) -> Iterator[bytes]:
    """The rows as pieces of a .jsonl file. Raises FileNotFoundError at once, not when the first piece is asked for."""
    rows = iter_rows(version)
    first = list(islice(rows, 1))
    return _pieces(chain(first, rows))


def _pieces(rows: Iterator[bytes]) -> Iterator[bytes]:
    while some := list(islice(rows, PIECE_ROWS)):
        yield b"\n".join(some) + b"\n"
