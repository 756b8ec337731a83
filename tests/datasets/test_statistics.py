"""Figures of all rows: bars with round edges that hold every row, the last one what is far above the rest."""

from io import BytesIO

import numpy as np
import pyarrow.parquet as pq
import pytest

from datasets.columns import FLAG_BITS, Writer
from datasets.statistics import MOST_BARS, histogram, round_up, statistics_of


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        ([], [0, 1], [0]),
        ([0], [0, 1], [1]),
        ([1, 1, 2], [1, 2, 3], [2, 1]),
        # An edge belongs to the bar that it begins.
        ([9, 10, 20, 199], [*range(0, 201, 10)], [1, 1, 1, *[0] * 16, 1]),
        ([19, 199], [*range(10, 201, 10)], [1, *[0] * 17, 1]),
    ],
)
def test_bars_begin_at_round_edges(values, edges, counts) -> None:
    figures = histogram(np.array(values, np.int32))
    assert (figures["edges"], figures["counts"]) == (edges, counts)


def test_the_last_bar_takes_what_is_far_above_the_rest() -> None:
    figures = histogram(np.array([*range(100)] * 10 + [1_000_000, 2_000_000], np.int32))
    assert (figures["edges"][-1], figures["counts"][-1]) == (2_000_001, 2)
    assert figures["edges"][-2] <= 105
    assert (figures["max"], figures["median"], figures["total"]) == (2_000_000, 50, 3_049_500)


@pytest.mark.parametrize("seed", range(8))
def test_every_row_is_in_one_of_few_bars(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.lognormal(rng.uniform(0, 8), rng.uniform(0, 3), 500).astype(np.int64)
    figures = histogram(values)
    edges = figures["edges"]
    assert sum(figures["counts"]) == 500 and len(figures["counts"]) <= MOST_BARS + 1
    assert edges == sorted(set(edges)) and edges[0] <= values.min() and edges[-1] > values.max()


@pytest.mark.parametrize(
    ("value", "rounded"), [(0.1, 1), (1, 1), (1.1, 2), (3, 5), (5.5, 10), (99, 100), (101, 200)]
)
def test_widths_are_round(value: float, rounded: int) -> None:
    assert round_up(value) == rounded


def test_a_file_of_rows_is_summed_up() -> None:
    file, phone = BytesIO(), FLAG_BITS["phone_number"]
    with Writer(file) as writer:
        for line, characters, flags in (
            (b"a", 30, 0),
            (b"a", 30, 1),
            (b"b", 40, 1 | phone),
            (b"\xe4\xbd\xa0" * 50, 50, 0),
        ):
            writer.add(line, 2, characters, flags)
    figures = statistics_of(pq.ParquetFile(file))
    assert figures["languages"] == {"zh": 1, "en": 3}
    assert (figures["duplicates"], figures["flags"]) == (1, {"duplicate": 2, "phone_number": 1})
    assert (figures["characters"]["total"], figures["turns"]["mean"]) == (150, 2.0)
