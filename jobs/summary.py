"""What a configuration comes to: the mix of its data, rows for training and testing, what is still missing.
The wizard shows it beside the form and refreshes it as people type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.values import format_number
from datasets.mixing import plan, sampled_rows, shares
from datasets.models import DatasetVersion
from jobs.configuration import MINIMUM_ROWS, SAMPLING_RATE_RANGE, training_rows
from jobs.estimate import Estimate, estimate
from jobs.forms import RunForm


@dataclass(frozen=True)
class MixLine:
    """One source of the mix: rows after sampling, share of the characters in percent (one decimal)."""

    version: DatasetVersion
    rate: str
    rows: int
    share: float


@dataclass(frozen=True)
class Missing:
    """Something that keeps the run from starting, and the field where it can be mended."""

    field: str
    label: str
    message: str


@dataclass(frozen=True)
class Summary:
    """`rows` is what counts for the rule of 100 rows; `training` and `testing` are None while a rate or the
    split makes no sense."""

    lines: list[MixLine]
    rows: int
    training: int | None
    testing: int | None
    missing: list[Missing]
    # None while the data make no sense.
    estimate: Estimate | None

    @property
    def share(self) -> float:
        """All shares together, in percent."""
        return round(sum(line.share for line in self.lines), 1)

    @property
    def has_enough_rows(self) -> bool:
        return self.rows >= MINIMUM_ROWS


def summarize(form: RunForm) -> Summary:
    configuration = form.configuration
    low, high = SAMPLING_RATE_RANGE
    sources = [source for source in configuration.sources if low <= source.sampling_rate <= high]
    rows = [sampled_rows(source.version.row_count, source.sampling_rate) for source in sources]
    lines = [
        MixLine(source.version, format_number(source.sampling_rate), count, share)
        for source, count, share in zip(sources, rows, rounded(shares(plan(sources))), strict=True)
    ]
    found = form.problems
    is_nonsense = any(name == "split_ratio" or name.startswith("rate-") for name in found)
    training, testing = (None, None) if is_nonsense else training_rows(configuration)
    missing = [
        Missing(name, str(form.fields[name].label) if name in form.fields else "", message)
        for name, messages in found.items()
        for message in messages
    ]
    cost = None if is_nonsense else estimate(configuration)
    return Summary(lines, sum(rows), training, testing, missing, cost)


def rounded(percentages: Sequence[float]) -> list[float]:
    """Percentages with one decimal that add up to exactly 100.0 where the given ones do: the tenths that
    rounding down leaves over go to the largest remainders (seed: 数据占比总和等于100%)."""
    tenths = [int(10 * value) for value in percentages]
    left_over = round(10 * sum(percentages)) - sum(tenths)
    by_remainder = sorted(range(len(tenths)), key=lambda i: tenths[i] - 10 * percentages[i])
    for index in by_remainder[:left_over]:
        tenths[index] += 1
    return [value / 10 for value in tenths]
