"""Reads the canonical rows of a version from the storage, whichever kind of storage that is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
from django.core.files.storage import default_storage

from datasets.models import DatasetVersion


def iter_rows(version: DatasetVersion) -> Iterator[bytes]:
    """Yields every row as its canonical JSON line, UTF-8 without the newline, in the order of the version.

    Raises FileNotFoundError if the storage has lost the file.
    """
    if not version.rows_path:
        return
    with default_storage.open(version.rows_path, "rb") as file:
        # Not the lines of Django's File, which cut at \r too and keep a second buffer.
        for line in file.file:
            yield line.rstrip(b"\n")


def page_of_rows(version: DatasetVersion, offset: int, limit: int) -> list[dict[str, Any]]:
    """Decodes `limit` rows from number `offset` (from 0) on."""
    lines = iter_rows(version)
    try:
        return [msgspec.json.decode(line) for line in islice(lines, offset, offset + limit)]
    finally:
        lines.close()  # type: ignore[attr-defined]
