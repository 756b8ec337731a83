"""Sampling and splitting: the seed's arithmetic, and the same mix every time."""

from collections import Counter

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from datasets.mixing import Source, mixed_rows, plan, sampled_rows, shares
from datasets.models import Dataset, DatasetVersion


@pytest.fixture
def version(workspace):
    dataset = Dataset.objects.create(workspace=workspace, name="numbers")
    path = default_storage.save("rows.jsonl", ContentFile(b"".join(b'{"row":%d}\n' % n for n in range(10))))
    return DatasetVersion.objects.create(
        dataset=dataset, number=1, row_count=10, character_count=100, rows_path=path
    )


def mix(version, rate=1.0, split=0.0, seed=42):
    (part,) = plan([Source(version, rate)], split)
    rows = list(mixed_rows(part, seed))
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
    assert shares(parts) == [25, 75]


def test_shares_of_nothing_are_zero(version):
    assert shares(plan([Source(version, 0.01)])) == [0.0]
