"""An import holds one record at a time, however large the file is."""

import json
import tracemalloc
from pathlib import Path

import pytest
from django.core.files import File
from django.core.files.storage import default_storage

from datasets.imports import run_import
from datasets.models import SourceFile, VersionState

LINE = json.dumps(
    {"instruction": "写一段话", "input": "关于天气", "output": "晴天。" * 400}, ensure_ascii=False
)
LAYOUTS = {"a.jsonl": ("", "\n", "\n"), "a.json": ("[\n", ",\n", "\n]"), "one_line.json": ("[", ",", "]")}
# How large the file is and how much memory may be taken, in MB. Rows wait until they make a row group of at most
# 16 MB, and two of those may wait for the disk. Of an array on one line the first 8 MB, a record's limit, are looked
# at as a whole.
SIZES = {"a.jsonl": (120, 60), "a.json": (40, 24), "one_line.json": (48, 36)}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_large_file_takes_a_few_mb(version, tmp_path: Path, name: str) -> None:
    start, between, end = LAYOUTS[name]
    size, most = SIZES[name]
    rows = size * 1024**2 // len(LINE.encode())
    with (tmp_path / name).open("w+b") as file:
        file.write(f"{start}{LINE}".encode())
        more = f"{between}{LINE}".encode()
        for _row in range(rows - 1):
            file.write(more)
        file.write(end.encode())
        path = default_storage.save("big", File(file))
    SourceFile.objects.create(version=version, name=name, path=path, size=default_storage.size(path))
    version.state = VersionState.IMPORTING
    version.save()
    tracemalloc.start()
    try:
        assert run_import(version.pk)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    version.refresh_from_db()
    assert version.row_count == rows
    assert peak < most * 1024**2
