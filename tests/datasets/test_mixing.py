"""Sampling and splitting: the seed's arithmetic, and the same mix every time."""

from collections import Counter

import pytest

from datasets.mixing import (
    Source,
    characters_of,
    corpus_rows,
    draw,
    hold_out,
    mixed_rows,
    plan,
    sampled_rows,
    shares,
)
from datasets.models import Dataset, DatasetVersion
from tests.rows import store_rows


@pytest.fixture
def version(workspace):
    dataset = Dataset.objects.create(workspace=workspace, name="numbers")
    path = store_rows("rows.parquet", [{"row": number} for number in range(10)])
    return DatasetVersion.objects.create(
        dataset=dataset, number=1, row_count=10, character_count=100, rows_path=path
    )


def mix(version, rate=1.0, split=0.0, seed=42):
    parts = plan([Source(version, rate)], split)
    (part,), (held_out,) = parts, hold_out(parts, seed).rows
    rows = list(mixed_rows(part, held_out, seed))
    return (
        part,
        [line.strip() for line, test in rows if not test],
        [line.strip() for line, test in rows if test],
    )


@pytest.mark.parametrize(
    ("rate", "expected"), [(0.01, 0), (0.25, 2), (0.5, 5), (1, 10), (2.5, 25), (10, 100)]
)
def test_a_rate_gives_that_many_rows(version, rate, expected):
    part, trained, _held_out = mix(version, rate)
    assert part.trained == len(trained) == sampled_rows(10, rate) == expected


def test_every_row_appears_floor_or_ceiling_of_the_rate_times(version):
    _part, trained, _held_out = mix(version, 2.5)
    assert Counter(Counter(trained).values()) == {2: 5, 3: 5}


def test_the_same_seed_draws_the_same_rows(version):
    assert mix(version, 0.5, 20) == mix(version, 0.5, 20)
    assert mix(version, 0.5, 20, seed=1)[1:] != mix(version, 0.5, 20, seed=2)[1:]


def test_no_row_is_in_both_sets(version):
    part, trained, held_out = mix(version, 3, 20)
    assert (part.held_out, len(held_out), len(trained)) == (2, 2, 24)
    assert not set(trained) & set(held_out)


def test_shares_add_up_to_100_percent(version):
    parts = plan([Source(version, 1), Source(version, 3)])
    assert shares([characters_of(version, part.trained) for part in parts]) == [25, 75]


def test_shares_of_nothing_are_zero():
    assert shares([0.0]) == [0.0]


@pytest.fixture
def make_lines(workspace):
    """Returns a function that makes a version with the given lines."""

    def make(lines):
        dataset = Dataset.objects.create(workspace=workspace, name=f"set {Dataset.objects.count()}")
        path = store_rows(f"{dataset.uid}.parquet", [b'{"row":%d}' % n for n in lines])
        return DatasetVersion.objects.create(dataset=dataset, number=1, row_count=len(lines), rows_path=path)

    return make


def both_sets(versions, split, rate=1.0, seed=42):
    """(lines trained on, lines held out) over all versions."""
    parts = plan([Source(version, rate) for version in versions], split)
    rows = [
        row
        for part, held_out in zip(parts, hold_out(parts, seed).rows, strict=True)
        for row in mixed_rows(part, held_out, seed)
    ]
    return [line for line, test in rows if not test], [line for line, test in rows if test]


@pytest.mark.parametrize("seed", range(5))
def test_equal_rows_of_one_version_stay_on_one_side(make_lines, seed):
    version = make_lines(list(range(50)) * 2)
    trained, held_out = both_sets([version], 20, seed=seed)
    assert (len(trained), len(held_out)) == (80, 20)
    assert not set(trained) & set(held_out)


@pytest.mark.parametrize("seed", range(5))
def test_equal_rows_of_two_versions_stay_on_one_side(make_lines, seed):
    """The usual case: V2 is V1 with further rows."""
    trained, held_out = both_sets([make_lines(range(100)), make_lines(range(120))], 25, seed=seed)
    assert (len(trained), len(held_out)) == (165, 55)
    assert not set(trained) & set(held_out)


def test_a_row_that_occurs_too_often_is_trained_on(make_lines):
    trained, held_out = both_sets([make_lines([7] * 60 + list(range(100, 140)))], 20)
    assert trained.count(b'{"row":7}') == 60
    assert len(held_out) == 20


def test_a_version_of_one_row_repeated_gives_no_test_set(make_lines):
    trained, held_out = both_sets([make_lines([1] * 10)], 20)
    assert (len(trained), held_out) == (10, [])


def test_of_too_many_rows_a_random_part_is_taken(make_lines):
    parts = plan([Source(make_lines(range(30))), Source(make_lines(range(100, 110)))], 0, most_rows=20)
    assert [part.taken for part in parts] == [15, 5]
    none = hold_out(parts, 1).rows
    rows = [line for part, held in zip(parts, none, strict=True) for line, _test in mixed_rows(part, held, 1)]
    assert len(rows) == len(set(rows)) == 20
    assert rows != [
        line for part, held in zip(parts, none, strict=True) for line, _test in mixed_rows(part, held, 2)
    ]


@pytest.mark.parametrize(("rows", "taken"), [(1999, 1999), (2000, 2000), (2001, 2000)])
def test_2000_rows_are_the_most(rows, taken):
    (part,) = plan([Source(DatasetVersion(row_count=rows))], most_rows=2000)
    assert (part.taken, part.trained) == (taken, taken)


def test_the_most_rows_held_out_come_from_the_first_sources():
    sources = [Source(DatasetVersion(row_count=count)) for count in (4000, 3000)]
    parts = plan(sources, 20, most_held_out=1000)
    assert [(part.held_out, part.trained) for part in parts] == [(800, 3200), (200, 2800)]


@pytest.mark.parametrize(
    ("own", "ratio", "available", "expected"), [(100, 0.2, 500, 20), (84, 0.2, 500, 17), (100, 10, 500, 500)]
)
def test_a_corpus_gives_no_row_twice(own, ratio, available, expected):
    assert corpus_rows(own, ratio, available) == expected
    assert draw(available, expected, "seed").sum() == expected
