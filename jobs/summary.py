"""What a configuration comes to: the mix of its data, rows for training and testing, what is still missing.
The wizard shows it beside the form and refreshes it as people type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from catalog.values import format_number
from datasets.mixing import shares
from jobs import limits
from jobs.configuration import Configuration, training_rows
from jobs.data_rules import RECOMMENDED_RATE, DataRules
from jobs.estimate import Estimate, estimate, usual_tokens_per_character
from jobs.forms import RunForm
from jobs.mix import Kind, MixPart, counted_rows, mix

# Fields that hold a number of the mix, beside the rates.
NUMBERS = ("split_ratio", "corpus_parts", "base_mix")


@dataclass(frozen=True)
class MixLine:
    """One part of the mix: rows after sampling, share of the characters in percent (one decimal). `rate` is
    empty where rows are not sampled."""

    kind: Kind
    label: str
    rate: str
    rows: int
    share: float


@dataclass(frozen=True)
class CorpusShare:
    """What the general corpus adds. `wanted` rows is what the ratio asks for; a corpus may have fewer."""

    rows: int
    tokens: int
    wanted: int

    @property
    def is_short(self) -> bool:
        return self.rows < self.wanted


@dataclass(frozen=True)
class Missing:
    """Something that keeps the run from starting, and the field where it can be mended."""

    field: str
    label: str
    message: str


@dataclass(frozen=True)
class Summary:
    """`rows` is what the rule about the least number of rows counts; `training` and `testing` are None while a
    rate, the split or a share makes no sense. Of more rows than the type takes, `left_out` are not used."""

    rules: DataRules
    left_out: int
    lines: list[MixLine]
    rows: int
    training: int | None
    testing: int | None
    missing: list[Missing]
    corpus: CorpusShare | None
    # None while the data make no sense.
    estimate: Estimate | None
    # Why it would wait although devices are free; None if it would not.
    waits_because: str | None

    @property
    def share(self) -> float:
        """All shares together, in percent."""
        return round(sum(line.share for line in self.lines), 1)

    @property
    def has_enough_rows(self) -> bool:
        return self.rows >= self.rules.minimum_rows

    @property
    def all_rows(self) -> int:
        """Also those of the base run."""
        return sum(line.rows for line in self.lines)

    @property
    def is_above_recommended(self) -> bool:
        return any(float(line.rate or 0) > RECOMMENDED_RATE for line in self.lines)


def summarize(form: RunForm) -> Summary:
    configuration, found = form.configuration, form.problems
    nonsense = {name for name in found if name.startswith("rate-") or name in NUMBERS}
    sensible = _sensible(configuration, nonsense)
    parts = mix(sensible)
    lines = [
        MixLine(
            part.kind,
            _label(form, part),
            "" if part.rate is None else format_number(part.rate),
            part.rows,
            share,
        )
        for part, share in zip(parts, rounded(shares([part.characters for part in parts])), strict=True)
    ]
    training, testing = (None, None) if nonsense else training_rows(configuration, parts)
    chosen = sum(source.version.row_count for source in configuration.sources)
    left_out = max(0, chosen - (form.rules.most_rows or chosen))
    places = {name: place for place, name in enumerate(form.fields)}  # in the order of the page
    missing = [
        Missing(name, str(form.fields[name].label) if name in form.fields else "", message)
        for name, messages in sorted(found.items(), key=lambda item: places.get(item[0], len(places)))
        for message in messages
    ]
    cost = None if nonsense else estimate(configuration, parts)
    return Summary(
        rules=form.rules,
        left_out=left_out,
        lines=lines,
        rows=counted_rows(parts),
        training=training,
        testing=testing,
        missing=missing,
        corpus=_corpus_share(sensible, parts),
        estimate=cost,
        waits_because=limits.notice(form.workspace),
    )


def _label(form: RunForm, part: MixPart) -> str:
    return form.label_of(part.version) if part.kind == Kind.SOURCE and part.version else part.label


def _corpus_share(configuration: Configuration, parts: Sequence[MixPart]) -> CorpusShare | None:
    part = next((part for part in parts if part.kind == Kind.CORPUS), None)
    if part is None or configuration.corpus is None:
        return None
    own = sum(part.trained for part in parts if part.kind == Kind.SOURCE)
    density = usual_tokens_per_character([configuration.corpus.version])
    return CorpusShare(
        rows=part.rows,
        tokens=round(part.characters * density),
        wanted=round(own * configuration.corpus_ratio),
    )


def _sensible(configuration: Configuration, nonsense: set[str]) -> Configuration:
    """The configuration without what cannot be counted, so that the rest still is while somebody types."""
    changes: dict[str, Any] = {
        "sources": [
            source for source in configuration.sources if f"rate-{source.version.uid}" not in nonsense
        ]
    }
    if "split_ratio" in nonsense:
        changes["split_ratio"] = 0.0
    if "corpus_parts" in nonsense:
        changes["corpus"] = None
    if "base_mix" in nonsense:
        changes["base_run"] = None
    return replace(configuration, **changes)


def rounded(percentages: Sequence[float]) -> list[float]:
    """Percentages with one decimal that add up to exactly 100.0 where the given ones do: the tenths that
    rounding down leaves over go to the largest remainders (seed: 数据占比总和等于100%)."""
    tenths = [int(10 * value) for value in percentages]
    left_over = round(10 * sum(percentages)) - sum(tenths)
    by_remainder = sorted(range(len(tenths)), key=lambda i: tenths[i] - 10 * percentages[i])
    for index in by_remainder[:left_over]:
        tenths[index] += 1
    return [value / 10 for value in tenths]
