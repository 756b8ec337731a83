"""Mixing: which rows of which version a run trains on. The same plan gives the same rows every time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from datasets.models import DatasetVersion
from datasets.rows import iter_rows

# Seed, section 数据配置: 最多支持1000条数据用于测试, the first ones are taken.
TEST_ROWS = 1000


@dataclass(frozen=True)
class Source:
    """A dataset version and how often its rows are taken, in [0.01, 10] (seed, 采样率)."""

    version: DatasetVersion
    sampling_rate: float = 1.0


@dataclass(frozen=True)
class Part:
    """What a source gives: rows held out for the test set, and rows to train on after sampling."""

    source: Source
    held_out: int
    trained: int


def sampled_rows(rows: int, rate: float) -> int:
    """Rows that `rows` become at a sampling rate: whole copies of each, and a share of the rows once more."""
    copies = int(rate)
    return copies * rows + round(rows * (rate - copies))


def plan(sources: Iterable[Source], split_ratio: float = 0.0) -> list[Part]:
    """Splits and samples every source. `split_ratio` is the percentage of its rows that is held out (seed,
    数据拆分比例: 20 means 80 % for training); held-out rows are never trained on, however high the rate.
    """
    parts = []
    for source in sources:
        held_out = int(source.version.row_count * split_ratio / 100)
        trained = sampled_rows(source.version.row_count - held_out, source.sampling_rate)
        parts.append(Part(source, held_out, trained))
    return parts


def shares(parts: Sequence[Part]) -> list[float]:
    """The parts of the mix in percent, by characters (seed: 按照字符数计算占比), adding up to 100.

    A version's characters are taken as spread evenly over its rows.
    """
    weights = [
        part.trained * part.source.version.character_count / max(1, part.source.version.row_count)
        for part in parts
    ]
    total = sum(weights)
    return [100 * weight / total if total else 0.0 for weight in weights]


def mixed_rows(part: Part, seed: int) -> Iterator[tuple[bytes, bool]]:
    """The rows of one source as (canonical JSON line, held out?), in the order of the version.

    Which rows are held out and which are drawn once more depends on the seed and the version alone.
    """
    rows = part.source.version.row_count
    chance = random.Random(f"{seed}:{part.source.version.uid}")  # noqa: S311  (a reproducible draw, no secret)
    held_out = set(chance.sample(range(rows), part.held_out))
    rest = [index for index in range(rows) if index not in held_out]
    copies = int(part.source.sampling_rate)
    extra = set(chance.sample(rest, part.trained - copies * len(rest)))
    for index, line in enumerate(iter_rows(part.source.version)):
        if index in held_out:
            yield line, True
            continue
        for _copy in range(copies + (index in extra)):
            yield line, False
