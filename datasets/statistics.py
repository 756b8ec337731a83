"""Figures of all rows of a version, out of its columns: histograms, languages, duplicates, warnings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq

from datasets.columns import LANGUAGES, ROW_FLAGS

Histogram = dict[str, Any]
# Between them a histogram's bars begin: round numbers, about three a power of ten.
_STEPS = (1, 2, 5)
MOST_BARS = 24


def statistics_of(parquet: pq.ParquetFile) -> dict[str, Any]:
    """`DatasetVersion.statistics` of a file of columns:

    {"characters": H, "turns": H, "languages": {"zh": 12, …}, "duplicates": 3, "flags": {"phone_number": 1, …}}
    H = {"edges": n + 1 numbers, "counts": n, "max", "mean", "median", "total"}; a bar holds edge <= value < next edge.
    Languages and flags that no row has are left out. `duplicates` counts the rows that repeat an earlier one.
    """
    flags = _column(parquet, "flags")
    flagged = {kind: int(np.count_nonzero(flags & (1 << bit))) for bit, kind in enumerate(ROW_FLAGS)}
    languages = np.bincount(_column(parquet, "language"), minlength=len(LANGUAGES))
    # Sorted: several times as fast as np.unique, which looks each one up.
    digests = np.sort(_column(parquet, "digest"))
    return {
        "characters": histogram(_column(parquet, "characters")),
        "turns": histogram(_column(parquet, "turns")),
        "languages": {name: int(count) for name, count in zip(LANGUAGES, languages, strict=True) if count},
        "duplicates": int(np.count_nonzero(digests[1:] == digests[:-1])),
        "flags": {kind: count for kind, count in flagged.items() if count},
    }


def _column(parquet: pq.ParquetFile, name: str) -> np.ndarray[Any, Any]:
    """A column of figures; of one after the other, millions of rows take little memory."""
    found: np.ndarray[Any, Any] = parquet.read(columns=[name], use_threads=False)[name].to_numpy()
    return found


def histogram(values: np.ndarray[Any, Any]) -> Histogram:
    """Counts whole numbers in bars of equal width with round edges; the last bar takes what is far above the rest.

    The width follows the 99th percentile, so that a single huge row does not flatten all others.
    """
    if not values.size:
        return {"edges": [0, 1], "counts": [0], "max": 0, "mean": 0.0, "median": 0.0, "total": 0}
    high = int(np.percentile(values, 99)) + 1
    width = round_up(high / (MOST_BARS - 1))
    low = int(values.min()) // width * width
    edges = list(range(low, high + width, width))
    most = int(values.max())
    if most >= edges[-1]:
        edges.append(most + 1)
    counts, _edges = np.histogram(values, bins=np.asarray(edges))
    return {
        "edges": edges,
        "counts": counts.tolist(),
        "max": most,
        "mean": round(float(values.mean()), 1),
        "median": float(np.median(values)),
        "total": int(values.sum(dtype=np.int64)),
    }


def round_up(value: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, … that is not smaller."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power >= value:
                return step * power
        power *= 10
