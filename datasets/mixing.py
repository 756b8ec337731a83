"""Mixing: which rows of which version a run trains on. The same plan gives the same rows every time.

Counting needs no row: `plan` tells from the sizes of the versions how many rows go where. Drawing does: rows that
are equal (the same canonical line, in one version or in several) always end on the same side, so that no row that
is tested on is trained on as well. Where equal rows get in the way, the counts of a plan are off by a few.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from datasets.models import DatasetVersion
from datasets.rows import digests_of, iter_rows

# Seed, section 数据配置: 最多支持1000条数据用于测试, the first ones are taken.
TEST_ROWS = 1000


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


def draw(rows: int, wanted: int, seed: str) -> set[int]:
    """The numbers of `wanted` of `rows` rows, none twice; all of them where fewer are there."""
    return set(random.Random(seed).sample(range(rows), min(rows, wanted)))  # noqa: S311  (no secret)


@dataclass(frozen=True)
class Split:
    """What is held out: the numbers of the rows for each part, and the digests of their lines."""

    rows: list[set[int]]
    digests: set[int]


def hold_out(parts: Sequence[Part], seed: int) -> Split:
    """Chooses the rows of the test set. Lines are chosen and not rows, so that equal rows stay together; a line
    that occurs more often than rows are wanted is trained on.

    Reads the digests of every version and keeps an entry of a set for each row. Two different lines that had the
    same digest would merely be kept on the same side.
    """
    split = Split([set() for _part in parts], set())
    if not any(part.held_out for part in parts):
        return split
    trained: set[int] = set()
    for part, held_out in zip(parts, split.rows, strict=True):
        taken = _taken(part, seed)
        lines = digests_of(part.source.version).tolist()
        copies = Counter(lines[number] for number in taken)
        wanted = part.held_out - sum(count for line, count in copies.items() if line in split.digests)
        undecided = [line for line in copies if line not in split.digests and line not in trained]
        random.Random(_seed(part, seed, "split")).shuffle(undecided)  # noqa: S311
        for line in undecided:
            if copies[line] <= wanted:
                split.digests.add(line)
                wanted -= copies[line]
            else:
                trained.add(line)
        held_out.update(number for number in taken if lines[number] in split.digests)
    return split


def mixed_rows(part: Part, held_out: Container[int], seed: int) -> Iterator[tuple[bytes, bool]]:
    """The rows of one source as (canonical JSON line, held out?), in the order of the version.

    `held_out` are the numbers of the rows that `hold_out` chose. Which rows are drawn once more depends on the
    seed and the version alone.
    """
    taken = _taken(part, seed)
    rest = [number for number in taken if number not in held_out]
    copies = int(part.source.sampling_rate)
    wanted = sampled_rows(len(rest), part.source.sampling_rate) - copies * len(rest)
    chance = random.Random(_seed(part, seed, "rate"))  # noqa: S311
    extra = set(chance.sample(rest, wanted))
    is_taken = taken if isinstance(taken, range) else set(taken)
    for number, line in enumerate(iter_rows(part.source.version)):
        if number not in is_taken:
            continue
        if number in held_out:
            yield line, True
            continue
        for _copy in range(copies + (number in extra)):
            yield line, False


def _taken(part: Part, seed: int) -> range | list[int]:
    """The numbers of the rows that take part, in order."""
    rows = part.source.version.row_count
    if part.taken == rows:
        return range(rows)
    return sorted(draw(rows, part.taken, _seed(part, seed, "take")))


def _seed(part: Part, seed: int, purpose: str) -> str:
    return f"{seed}:{part.source.version.uid}:{purpose}"
