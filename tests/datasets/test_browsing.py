"""Search and filters over the columns of a version, without pages."""

import json
from io import BytesIO

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from datasets import browsing
from datasets.browsing import BadPattern, Query, Span, check_pattern, find, pieces
from datasets.columns import FLAG_BITS, Writer
from datasets.models import DatasetVersion


@pytest.fixture(autouse=True)
def small_batches(monkeypatch) -> None:
    """Several row groups and batches from few rows."""
    monkeypatch.setattr("datasets.columns.GROUP_ROWS", 4)
    monkeypatch.setattr(browsing, "BATCH_ROWS", 3)


def stored(*rows: dict, **figures: list[int]) -> DatasetVersion:
    buffer = BytesIO()
    with Writer(buffer) as writer:
        for at, row in enumerate(rows):
            values = {name: column[at] for name, column in figures.items()}
            line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
            writer.add(
                line,
                values.get("turns", 1),
                values.get("characters", 30),
                values.get("flags", 0),
                f"{at % 2}.csv",
            )
    path = default_storage.save("rows", ContentFile(buffer.getvalue()))
    return DatasetVersion(uid="ds-1", rows_path=path, row_count=len(rows))


def found(version: DatasetVersion, query: Query, start: int = 1, **options) -> list[int]:
    return [hit.number for hit in find(version, query, start, **{"limit": 20} | options).hits]


TEXTS = [
    {"text": text} for text in ("Hello", "你好世界", 'say "hi"', "back\\slash", "two\nlines", "HELLO", "end")
]


@pytest.mark.parametrize(
    ("needle", "numbers"),
    [
        ("hello", [1, 6]),
        ("好世", [2]),
        ('"', [3]),
        ("\\", [4]),
        ("two\nl", [5]),
        ("text", []),
        ("nowhere", []),
    ],
)
def test_texts_are_searched_as_they_read_and_not_as_json_writes_them(needle, numbers) -> None:
    assert found(stored(*TEXTS), Query(needle)) == numbers


@pytest.mark.parametrize(
    ("pattern", "numbers"), [("^lines$", [5]), (r"l+o$", [1, 6]), ('y "h', [3]), ("[世]", [2])]
)
def test_expressions_are_searched_in_the_same_texts(pattern, numbers) -> None:
    assert found(stored(*TEXTS), Query(pattern, is_pattern=True)) == numbers


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "needle"}]},
        {"prompt": "needle", "chosen": "a", "rejected": "b"},
        {"messages": [], "chosen": "a", "rejected": "needle"},
        {"messages": [], "completion": "needle", "label": True},
        {"messages": [], "responses": [{"content": "needle", "score": 1.5}]},
    ],
)
def test_every_kind_of_row_is_searched(row) -> None:
    assert found(stored({"text": "hay"}, row), Query("needle")) == [2]


def test_figures_and_texts_are_asked_for_together() -> None:
    version = stored(*TEXTS, turns=[1, 2, 3, 4, 5, 6, 7], flags=[0, 0, 1, 0, 0, 1, 1])
    assert found(version, Query(turns=Span(2, 4))) == [2, 3, 4]
    assert found(version, Query(flag="duplicate")) == [3, 6, 7]
    assert found(version, Query("hello", turns=Span(2), flag="duplicate")) == [6]
    assert found(version, Query(file="1.csv")) == [2, 4, 6]
    assert FLAG_BITS["duplicate"] == 1


def test_languages_are_told_apart() -> None:
    version = stored(
        {"text": "the quick brown fox jumps"}, {"text": "敏捷的棕色狐狸跳过了懒狗" * 2}, characters=[25, 24]
    )
    assert found(version, Query(language="zh")) == [2]


@pytest.mark.parametrize("limit", [1, 2, 5, 20])
@pytest.mark.parametrize("start", [1, 4, 5, 9, 11])
def test_looking_back_finds_what_looking_ahead_finds(start, limit) -> None:
    version = stored(*[{"text": "even" if number % 2 == 0 else "odd"} for number in range(1, 12)])
    even = [number for number in range(1, 12) if number % 2 == 0]
    assert found(version, Query("even"), start, limit=limit) == [n for n in even if n >= start][:limit]
    back = [number for number in even if number <= start][-limit:]
    assert found(version, Query("even"), start, limit=limit, backwards=True) == back


def test_looks_that_run_out_of_time_go_on_to_the_end() -> None:
    version, start, numbers = stored(*[{"text": str(number)} for number in range(11)]), 1, []
    for _look in range(20):
        look = find(version, Query("1"), start, limit=20, seconds=-1)
        numbers += [hit.number for hit in look.hits]
        start = look.last + 1
        if not look.is_cut:
            break
    assert (numbers, look.last) == ([2, 11], 11)


def test_matches_are_cut_out_and_the_text_stays_whole() -> None:
    assert pieces("A yeast, YEAST", Query("yeast")) == [
        ("A ", False),
        ("yeast", True),
        (", ", False),
        ("YEAST", True),
    ]
    assert "".join(piece for piece, _ in pieces("aXbc", Query("x*", is_pattern=True))) == "aXbc"


def test_expressions_that_re2_does_not_know_are_refused() -> None:
    with pytest.raises(BadPattern, match="missing"):
        check_pattern(Query("(", is_pattern=True))
    check_pattern(Query("("))


def test_an_expression_that_hangs_other_engines_does_not() -> None:
    assert found(stored({"text": "a" * 5000 + "!"}), Query(r"(a+)+$", is_pattern=True)) == []
