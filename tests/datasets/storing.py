"""Versions with rows in the storage, made without an import."""

from __future__ import annotations

import hashlib
from io import BytesIO
from typing import Any

import msgspec
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from pyarrow import parquet

from datasets.columns import Writer
from datasets.formats.base import texts, turns
from datasets.models import Dataset, DatasetVersion, RowType, VersionState
from datasets.statistics import statistics_of


def talk(question: str, reply: str = "ok") -> dict[str, Any]:
    """A conversation of one turn."""
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]}


def stored(
    dataset: Dataset, rows: list[dict[str, Any]], state: str = VersionState.DRAFT, flags: tuple[int, ...] = ()
) -> DatasetVersion:
    """The next version of a dataset, with these rows; `flags` are those of the first rows."""
    file, hashed = BytesIO(), hashlib.sha256()
    with Writer(file) as writer:
        for number, row in enumerate(rows):
            line = msgspec.json.encode(row)
            flag = flags[number] if number < len(flags) else 0
            writer.add(line, turns(row), sum(map(len, texts(row))), flag, "a.jsonl", number + 1)
            hashed.update(line + b"\n")
    version = DatasetVersion(
        dataset=dataset, number=dataset.versions.count() + 1, state=state, format="messages"
    )
    version.row_count = len(rows)
    version.turn_count = sum(map(turns, rows))
    version.character_count = sum(len(text) for row in rows for text in texts(row))
    version.content_hash = hashed.hexdigest()
    version.statistics = statistics_of(parquet.ParquetFile(file))
    path = f"datasets/{version.uid}/rows-1.parquet"
    version.rows_path = default_storage.save(path, ContentFile(file.getvalue()))
    version.save()
    kind = "messages" if "messages" in rows[0] else "text"
    if dataset.row_type != kind and "text" in rows[0]:
        dataset.row_type = RowType.TEXT
        dataset.save()
    return version
