"""Mixing: which rows of which version a run trains on. The same plan gives the same rows every time.

Counting needs no row: `plan` tells from the sizes of the versions how many rows go where. Drawing does: rows that
are equal (the same canonical line, in one version or in several) always end on the same side, so that no row that
is tested on is trained on as well. Where equal rows get in the way, the counts of a plan are off by a few.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datasets.models import DatasetVersion
from datasets.rows import digests_of, iter_rows

# Seed, section 数据配置: 最多支持1000条数据用于测试, the first ones are taken.
TEST_ROWS = 1000
# A value for each row of a version, or each different line: a byte or eight, where sets of numbers take a hundred.
Chosen = np.ndarray[tuple[int], np.dtype[np.bool_]]
Counts = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Source:
    """A dataset version and how often its rows are taken, in [0.01, 10] (seed, 采样率)."""

    version: DatasetVersion
    sampling_rate: float = 1.0


@dataclass(frozen=True)
class Part:
    """What a source gives: the rows of it that take part, those of them that are held out for the test set,
    and the rows to train on after sampling the others."""

    source: Source
    taken: int
    held_out: int
    trained: int


def sampled_rows(rows: int, rate: float) -> int:
    """Rows that `rows` become at a sampling rate: whole copies of each, and a share of the rows once more."""
    copies = int(rate)
    return copies * rows + round(rows * (rate - copies))


def plan(
    sources: Iterable[Source],
    split_ratio: float = 0.0,
    most_rows: int | None = None,
    most_held_out: int | None = None,
) -> list[Part]:
    """Splits and samples every source. `split_ratio` is the percentage of its rows that is held out (seed,
    数据拆分比例: 20 means 80 % for training); held-out rows are never trained on, however high the rate.

    Of more than `most_rows` rows altogether only so many take part, from each source in proportion to its size.
    At most `most_held_out` rows are held out, from the sources in their order; the others are trained on.
    """
    sources = list(sources)
    counts = _limited([source.version.row_count for source in sources], most_rows)
    left = sum(counts) if most_held_out is None else most_held_out
    parts = []
    for source, taken in zip(sources, counts, strict=True):
        held_out = min(left, int(taken * split_ratio / 100))
        left -= held_out
        trained = sampled_rows(taken - held_out, source.sampling_rate)
        parts.append(Part(source, taken, held_out, trained))
    return parts


def _limited(counts: list[int], most: int | None) -> list[int]:
    """Shrinks counts in proportion so that they add up to `most`; the largest remainders are rounded up."""
    total = sum(counts)
    if most is None or total <= most:
        return counts
    shrunk = [count * most // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda i: counts[i] * most % total, reverse=True)
    for index in by_remainder[: most - sum(shrunk)]:
        shrunk[index] += 1
    return shrunk


def corpus_rows(own_rows: int, ratio: float, available: int) -> int:
    """Rows of a general corpus that go with `own_rows` rows of own data, `ratio` for each of them (0.2 is the
    seed's 1:5). No row twice: a corpus that has fewer gives all it has.
    """
    return min(available, round(own_rows * ratio))


def shares(characters: Sequence[float]) -> list[float]:
    """The parts of a mix in percent, by characters (seed: 按照字符数计算占比), adding up to 100."""
    total = sum(characters)
    return [100 * count / total if total else 0.0 for count in characters]


def characters_of(version: DatasetVersion, rows: int) -> float:
    """Characters in so many rows of a version, taken as spread evenly over them."""
    return rows * version.character_count / max(1, version.row_count)


# --- Drawing -------------------------------------------------------------------------------------------------


def draw(rows: int, wanted: int, seed: str) -> Chosen:
    """True for `wanted` of `rows` rows, for all of them where fewer are there."""
    chosen = np.zeros(rows, bool)
    chosen[random.Random(seed).sample(range(rows), min(rows, wanted))] = True  # noqa: S311  (no secret)
    return chosen


@dataclass(frozen=True)
class Split:
    """What is held out: for each part, True for such rows of its version; and the digests of their lines."""

    rows: list[Chosen]
    digests: set[int]


def hold_out(parts: Sequence[Part], seed: int) -> Split:
    """Chooses the rows of the test set. Lines are chosen and not rows, so that equal rows stay together; a line
    that occurs more often than rows are wanted is trained on.

    Reads the digests of every version. Two different lines that had the same digest would merely be kept on the
    same side.
    """
    rows = [np.zeros(part.source.version.row_count, bool) for part in parts]
    held = trained = np.empty(0, np.uint64)
    if not any(part.held_out for part in parts):
        return Split(rows, set())
    for part, is_held_out in zip(parts, rows, strict=True):
        taken = np.flatnonzero(_taken(part, seed))
        digests = digests_of(part.source.version)[taken]
        lines, first, copies = np.unique(digests, return_index=True, return_counts=True)
        order = np.argsort(first)
        lines, copies = lines[order], copies[order]
        del first, order
        is_held = _among(lines, held)
        undecided = np.flatnonzero(~is_held & ~_among(lines, trained))
        wanted = part.held_out - int(copies[is_held].sum())
        is_held[undecided] = _held_of(copies[undecided], wanted, _seed(part, seed, "split"))
        held = np.union1d(held, lines[is_held])
        trained = np.union1d(trained, lines[~is_held])
        is_held_out[taken] = _among(digests, held)
    return Split(rows, set(held.tolist()))


def _among(values: Any, known: Any) -> Chosen:
    """True for the values that are among the known ones, which are sorted; numpy's isin takes five times the memory."""
    if not len(known):
        return np.zeros(len(values), bool)
    at = np.searchsorted(known, values)
    np.minimum(at, len(known) - 1, out=at)
    found: Chosen = known[at] == values
    return found


def _held_of(copies: Counts, wanted: int, seed: str) -> Chosen:
    """True for lines, of which there are so many copies each, that together make `wanted` rows or a few less."""
    is_held = np.zeros(len(copies), bool)
    order = array("q", range(len(copies)))
    random.Random(seed).shuffle(order)  # noqa: S311
    for line in order:
        if wanted <= 0:
            break
        if copies[line] <= wanted:
            is_held[line] = True
            wanted -= int(copies[line])
    return is_held


def mixed_rows(part: Part, is_held_out: Chosen, seed: int) -> Iterator[tuple[bytes, bool]]:
    """The rows of one source as (canonical JSON line, held out?), in the order of the version.

    `is_held_out` is true for the rows that `hold_out` chose. Which rows are drawn once more depends on the seed and
    the version alone.
    """
    rate = part.source.sampling_rate
    is_taken = _taken(part, seed)
    rest = np.flatnonzero(is_taken & ~is_held_out)
    times = np.zeros(len(is_taken), np.int64)
    times[rest] = int(rate)
    wanted = sampled_rows(len(rest), rate) - int(rate) * len(rest)
    times[rest[draw(len(rest), wanted, _seed(part, seed, "rate"))]] += 1
    for line, taken, held_out, count in zip(
        iter_rows(part.source.version), is_taken, is_held_out, times, strict=True
    ):
        if taken and held_out:
            yield line, True
        for _copy in range(count):
            yield line, False


def _taken(part: Part, seed: int) -> Chosen:
    """True for the rows of the version that take part."""
    rows = part.source.version.row_count
    if part.taken == rows:
        return np.ones(rows, bool)
    return draw(rows, part.taken, _seed(part, seed, "take"))


def _seed(part: Part, seed: int, purpose: str) -> str:
    return f"{seed}:{part.source.version.uid}:{purpose}"
