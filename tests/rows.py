"""Rows put into the storage without an import."""

from collections.abc import Iterable, Sequence
from io import BytesIO

import msgspec
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from datasets.columns import Writer
from datasets.formats.base import texts, turns


def store_rows(path: str, rows: Iterable[dict | bytes]) -> str:
    """Writes canonical rows, or their lines, as datasets/columns.py does; returns the path that it got."""
    file = BytesIO()
    with Writer(file) as writer:
        for number, given in enumerate(rows, 1):
            line = given if isinstance(given, bytes) else msgspec.json.encode(given)
            row = msgspec.json.decode(line)
            writer.add(line, turns(row), sum(map(len, texts(row))), file="rows.jsonl", place=number)
    return default_storage.save(path, ContentFile(file.getvalue()))


def chats(count: int) -> Sequence[dict]:
    """Small conversations, all of them different."""
    return [
        {
            "messages": [
                {"role": "user", "content": f"question {number}"},
                {"role": "assistant", "content": f"answer {number}"},
            ]
        }
        for number in range(count)
    ]
