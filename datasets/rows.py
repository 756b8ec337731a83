"""Reads the canonical rows of a version from the storage, whichever kind of storage that is."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import islice
from typing import Any

import msgspec

from datasets import locations
from datasets.models import DatasetVersion
from datasets.storage import lines


def iter_rows(version: DatasetVersion) -> Generator[bytes, None, None]:
    """Yields every row as its canonical JSON line, UTF-8 without the newline, in the order of the version.

    Raises FileNotFoundError if the storage has lost the file.
    """
    if version.rows_path:
        yield from lines(version.rows_path)
    else:
        yield from locations.iter_rows(version)


def page_of_rows(version: DatasetVersion, offset: int, limit: int) -> list[dict[str, Any]]:
    """Decodes `limit` rows from number `offset` (from 0) on."""
    if not version.rows_path and locations.place_of(version):
        return locations.page_of_rows(version, offset, limit)
    with closing(iter_rows(version)) as rows:
        return [msgspec.json.decode(line) for line in islice(rows, offset, offset + limit)]
