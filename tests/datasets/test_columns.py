"""Rows as columns: what is written is read back, in order, by few bytes of a bucket; languages of texts."""

from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from datasets import columns, storage
from datasets.columns import (
    Seen,
    Writer,
    digest,
    groups,
    iter_lines,
    open_columns,
    read_lines,
)
from datasets.models import DatasetVersion

ROWS = [
    (f'{{"text": "行 {number}"}}'.encode(), 1, number, number % 4, f"{number // 4}.jsonl", number)
    for number in range(10)
]


@pytest.fixture
def filled(version, monkeypatch) -> DatasetVersion:
    """Ten rows in groups of four."""
    monkeypatch.setattr(columns, "GROUP_ROWS", 4)
    file = BytesIO()
    with Writer(file) as writer:
        for row in ROWS:
            writer.add(*row)
    version.rows_path = default_storage.save("rows.parquet", ContentFile(file.getvalue()))
    return version


def test_rows_come_back_as_they_were_added(filled) -> None:
    names = ["line", "turns", "characters", "flags", "file", "place"]
    with open_columns(filled) as parquet:
        assert [tuple(row.values()) for row in parquet.read(columns=names).to_pylist()] == ROWS
        assert parquet.read(columns=["digest"])["digest"].to_pylist() == [digest(row[0]) for row in ROWS]
        assert list(groups(parquet)) == [(0, 0, 4), (1, 4, 8), (2, 8, 10)]
    assert list(iter_lines(filled)) == [row[0] for row in ROWS]


@pytest.mark.parametrize("numbers", [[0], [3, 4], [9], range(8, 12), [10], [], [0, 9]])
def test_single_rows_are_read_also_at_the_end_and_beyond(filled, numbers) -> None:
    assert read_lines(filled, numbers) == [ROWS[number][0] for number in numbers if number < 10]


def test_only_the_row_groups_that_are_asked_for_are_read(filled, monkeypatch) -> None:
    asked, real = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda self, i, **rest: asked.append(i) or real(self, i, **rest)
    )
    read_lines(filled, [5, 6])
    assert asked == [1]


def test_a_version_without_rows_has_nothing_to_open(version) -> None:
    with pytest.raises(FileNotFoundError):
        read_lines(version, [0])


def test_an_object_of_a_bucket_gives_just_the_bytes_that_are_asked_for() -> None:
    class Stored:
        content_length, asked = 100, []

        def get(self, Range: str) -> dict[str, BytesIO]:
            first, last = map(int, Range.removeprefix("bytes=").split("-"))
            self.asked.append((first, last))
            return {"Body": BytesIO(bytes(range(100))[first : last + 1])}

    file = storage._Parts(stored := Stored())
    assert file.seek(-10, 2) == 90
    assert (file.read(4), file.read(), file.read(1)) == (bytes(range(90, 94)), bytes(range(94, 100)), b"")
    assert file.seek(5) == 5 and file.read(0) == b""
    assert stored.asked == [(90, 93), (94, 99)]


def test_what_came_before_is_seen_within_a_block_and_across_many() -> None:
    seen, rng = Seen(), np.random.default_rng(1)
    known: set[int] = set()
    for _block in range(30):
        given = rng.integers(0, 300, 20, dtype=np.uint64)
        expected = []
        for value in given.tolist():
            expected.append(value in known)
            known.add(value)
        assert seen.add(given).tolist() == expected


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The quick brown fox jumps over the lazy dog.", "en"),
        ("今天的天气很好，我们一起去公园散步，好不好？一定去。", "zh"),
        ("Please translate: 今天天气很好我们去吧 as you like", "mixed"),
        ("Сегодня хорошая погода, пойдём гулять в парк.", "other"),
        ("Un élève français écrit une très longue phrase.", "other"),
        ("short", "other"),
        ("", "other"),
    ],
)
def test_languages_are_told_by_the_characters(text: str, language: str) -> None:
    lines = pa.array([b"x" * 9, text.encode(), b"\xe4\xbd\xa0" * 30], pa.binary())
    found = columns.languages(lines, np.array([9, len(text), 30], np.int32))
    assert [columns.LANGUAGES[index] for index in found] == ["other", language, "zh"]
    # A part of a larger array is counted by itself.
    found = columns.languages(lines.slice(1, 1), np.array([len(text)], np.int32))
    assert columns.LANGUAGES[found[0]] == language
