"""Two versions of a dataset side by side: their figures, and which rows only one of them has.

Rows are told apart by their digests (datasets/columns.py), so that millions are compared in a moment and without
reading them; the few that a page shows are read afterwards. A row that A has three times and B once counts as once
in both and twice only in A.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.models import DatasetVersion
from datasets.rows import digests_of

Digests = np.ndarray[Any, np.dtype[np.uint64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Comparison:
    """Numbers (from 0, ascending) of the rows that only one version has, and how many both have."""

    only_a: Numbers
    only_b: Numbers
    both: int


def compare(a: DatasetVersion, b: DatasetVersion) -> Comparison:
    """Compares the rows; raises FileNotFoundError where the storage has lost some."""
    first, second = digests_of(a), digests_of(b)
    only_a, only_b = surplus(first, second), surplus(second, first)
    return Comparison(only_a, only_b, len(first) - len(only_a))


def surplus(these: Digests, others: Digests) -> Numbers:
    """Indices of `these` that `others` lack; of equal ones the last are those too many."""
    # Copies of a digest lie together in the order of their rows: which copy each is follows from its place.
    order = np.argsort(these, kind="stable")
    ordered = these[order]
    copy = np.arange(len(ordered)) - np.searchsorted(ordered, ordered, side="left")
    sorted_others = np.sort(others)
    available = np.searchsorted(sorted_others, ordered, side="right") - np.searchsorted(
        sorted_others, ordered, side="left"
    )
    return np.sort(order[copy >= available])
