"""费用与时长: what a run will come to, before it is submitted, and what it came to.

    tokens = characters after sampling and mixing × tokens per character × epochs
    time   = tokens ÷ (tokens per second of one device × devices), in steps of 0.01 hour
    price  = time × devices × price of a device hour

What is held out for validation counts as well (seed, 图理解: 验证集参与计费, at the price of training). Tokens per
character are those that were counted with the base model's tokenizer, else they are learned from earlier runs; speed
is the operator's or that of earlier runs; where nothing is known, nothing is claimed. Text-to-image runs are counted
in samples instead of tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
from django.conf import settings
from django.core.cache import cache
from django.db.models import QuerySet
from django.utils import timezone

from catalog.models import BaseModel, ModelType
from datasets.mixing import TEST_ROWS, characters_of
from datasets.models import DatasetVersion
from datasets.rows import page_of_rows
from datasets.tokens import tokens_per_character
from jobs.mix import MixPart, mix
from jobs.models import Pool, Run, RunState, Throughput

if TYPE_CHECKING:
    from jobs.configuration import Configuration

# Seed, section 资源配置: 最小计量粒度为0.01小时,不足0.01小时按0.01小时计算.
HOUR_STEP = Decimal("0.01")
# Of the newest finished runs of a base model, so many are learned from.
LEARNED_RUNS = 20
# Rows at the head of a version that tell its mix of languages.
SAMPLE_ROWS = 50
# Qianfan's own rule for an estimate without a tokenizer: tokens = Chinese characters + 1.3 × words.
TOKENS_PER_WORD = 1.3
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_WORD = re.compile(r"[^\W\u3400-\u9fff\uf900-\ufaff]+")


@dataclass(frozen=True)
class Estimate:
    """`amount` is what passes through the model over all epochs: tokens, or samples of a text-to-image run.
    None is what cannot be known yet. `tokens_from` says where the tokens per character are from: "count" (of the rows
    themselves), "runs", "rule" or "" (unknown); `counted` is the share of the characters for which it was a count, and
    `tokens_from` then speaks of the others. `speed_from` is "operator", "runs" or "".
    """

    amount: int | None = None
    is_samples: bool = False
    tokens_from: str = ""
    counted: float = 0.0
    hours: Decimal | None = None
    speed_from: str = ""
    price: Decimal | None = None
    # Of a device hour, as it is when the run is submitted; None without a pool.
    rate: Decimal | None = None
    # Characters of an epoch, training and validation: what later runs learn from.
    characters: int = 0

    def stored(self) -> dict[str, Any]:
        """For `Run.estimate`."""
        return {
            "samples" if self.is_samples else "tokens": self.amount,
            "hours": None if self.hours is None else str(self.hours),
            "price": None if self.price is None else str(self.price),
            "rate": None if self.rate is None else str(self.rate),
            "currency": settings.CURRENCY,
            "characters": self.characters,
        }


def estimate(configuration: Configuration, parts: Sequence[MixPart] | None = None) -> Estimate:
    """What a run of this configuration will come to; takes at most six queries. `parts` is its mix where it is
    known."""
    is_samples = configuration.model_type == ModelType.TEXT_TO_IMAGE
    base_model, resources = configuration.base_model, configuration.resources
    if base_model is None or not configuration.sources or "hp-epoch" in configuration.errors:
        return Estimate(is_samples=is_samples)
    epochs = float(configuration.hyperparameters.get("epoch", 1))
    parts = mix(configuration) if parts is None else parts
    rate = rate_of(resources.pool, resources.idle)
    sizes = data_sizes(configuration, parts)
    characters = sum(sizes.values())
    tokens_from, counted = "", 0.0
    if is_samples:
        amount: int | None = round(rows_of_epoch(configuration, parts) * epochs)
    else:
        tokens, tokens_from, counted = epoch_tokens_of(configuration, base_model, sizes)
        amount = None if tokens is None else round(tokens * epochs)
    speed, speed_from = speed_of(resources.pool, base_model.pk, configuration.method)
    hours = price = None
    if amount and speed:
        hours = charged_hours(amount / (speed * resources.devices))
        price = price_of(hours, resources.devices, rate)
    return Estimate(
        amount, is_samples, tokens_from, counted, hours, speed_from, price, rate, round(characters)
    )


# --- Tokens --------------------------------------------------------------------------------------------------


def rows_of_epoch(configuration: Configuration, parts: Iterable[MixPart]) -> int:
    """All that is trained on and validated with."""
    test = configuration.test_version
    return sum(part.trained + part.held_out for part in parts) + (
        min(TEST_ROWS, test.row_count) if test else 0
    )


def data_sizes(configuration: Configuration, parts: Iterable[MixPart]) -> dict[DatasetVersion | None, float]:
    """Characters of one epoch, of what is trained on and validated with, by version; None stands for the data of
    the base run."""
    sizes: dict[DatasetVersion | None, float] = {}
    for part in parts:
        size = part.characters + part.held_out_characters
        sizes[part.version] = sizes.get(part.version, 0.0) + size
    if (test := configuration.test_version) is not None:
        sizes[test] = sizes.get(test, 0.0) + characters_of(test, min(TEST_ROWS, test.row_count))
    return sizes


def epoch_tokens_of(
    configuration: Configuration, base_model: BaseModel, sizes: Mapping[DatasetVersion | None, float]
) -> tuple[float | None, str, float]:
    """Tokens of one epoch (None: unknown), where they are from, and the share of the characters that were counted;
    see Estimate."""
    is_text = configuration.model_type == ModelType.TEXT_TO_TEXT
    # A tokenizer does not count pictures.
    counts = tokens_per_character(filter(None, sizes), base_model) if is_text else {}
    tokens = sum(size * counts[version] for version, size in sizes.items() if version in counts)
    rest = {version: size for version, size in sizes.items() if version not in counts}
    if counts and not any(rest.values()):
        return tokens, "count", 1.0
    tokens_from, density = "runs", learned_tokens_per_character(configuration)
    if density is None and is_text:
        versions = [version for version in rest if version]
        tokens_from = "rule"
        density = usual_tokens_per_character(versions or [source.version for source in configuration.sources])
    if density is None:
        return None, "", 0.0
    counted = 1 - sum(rest.values()) / (sum(sizes.values()) or 1)
    return tokens + sum(rest.values()) * density, tokens_from, counted if counts else 0.0


def learned_tokens_per_character(configuration: Configuration) -> float | None:
    """The median over earlier runs on the same base model, those on the same datasets if there are any; None
    without such runs. The tokens of pictures and of the chat template are in it."""
    if configuration.base_model is None:
        return None
    runs = finished_runs(configuration.base_model.pk).filter(estimate__characters__gt=0)
    figures = runs.values_list("pk", "summary__data", "estimate__characters")[:LEARNED_RUNS]
    facts = {
        pk: tokens / characters for pk, data, characters in figures if (tokens := epoch_tokens(data or {}))
    }
    if not facts:
        return None
    datasets = [source.version.dataset_id for source in configuration.sources]
    alike = set(
        Run.objects.filter(pk__in=facts, sources__version__dataset__in=datasets).values_list("pk", flat=True)
    )
    return median(facts[pk] for pk in alike) if alike else median(facts.values())


def epoch_tokens(data: dict[str, Any]) -> float:
    """Tokens of one epoch, training and validation, of a run's `summary["data"]`. The trainer counts those of
    the training rows; validation rows are taken to be as long."""
    rows, tokens = data.get("rows") or 0, data.get("tokens") or 0
    return tokens * (1 + (data.get("eval_rows") or 0) / rows) if rows else 0.0


def usual_tokens_per_character(versions: Iterable[DatasetVersion]) -> float:
    """Tokens per character by Qianfan's rule for the languages of these versions, weighted by their size."""
    pairs = [(_ruled_rate(version), version.character_count) for version in versions]
    total = sum(characters for _rate, characters in pairs)
    return sum(rate * characters for rate, characters in pairs) / total if total else 1.0


def _ruled_rate(version: DatasetVersion) -> float:
    """Tokens per character at the head of a version, which never changes: kept in the cache."""
    rate: float = cache.get_or_set(f"tokens-per-character-{version.uid}", lambda: _read_rate(version), None)  # type: ignore[assignment]
    return rate


def _read_rate(version: DatasetVersion) -> float:
    try:
        rows = page_of_rows(version, 0, SAMPLE_ROWS)
    except (OSError, msgspec.DecodeError):
        rows = []
    text = "\n".join(message["content"] for row in rows for message in row.get("messages", ()))
    # A character a token, as Chinese has it, where there is nothing to read.
    return ruled_tokens(text) / len(text) if text else 1.0


def ruled_tokens(text: str) -> float:
    """Tokens of a text by Qianfan's rule, for any tokenizer roughly."""
    return len(_CHINESE.findall(text)) + TOKENS_PER_WORD * len(_WORD.findall(text))


# --- Time ----------------------------------------------------------------------------------------------------


def finished_runs(base_model_id: int) -> QuerySet[Run]:
    """The newest runs of a base model that trained to their end."""
    return Run.objects.filter(base_model=base_model_id, state=RunState.DONE).order_by("-finished_at")


def speed_of(pool: Pool | None, base_model_id: int, method: str) -> tuple[float | None, str]:
    """Tokens (samples) per second of one device, and where that is known from: "operator" or "runs"."""
    table = Throughput.objects.filter(pool=pool, base_model=base_model_id, method=method)
    if pool is not None and (speed := table.values_list("tokens_per_second", flat=True).first()):
        return speed, "operator"
    runs = finished_runs(base_model_id).filter(method=method, pool=pool, held_seconds__gt=0)
    # Loading and saving are included: a short run makes later estimates careful.
    figures = runs.values_list("job__model_type", "summary__data", "epoch", "held_seconds", "devices")[
        :LEARNED_RUNS
    ]
    speeds = [
        amount / (seconds * devices)
        for model_type, data, epoch, seconds, devices in figures
        if (amount := amount_of(model_type, data, epoch))
    ]
    return (median(speeds), "runs") if speeds else (None, "")


def charged_hours(seconds: float) -> Decimal:
    """Hours in steps of 0.01, a step that has begun is counted; at least one."""
    steps = (Decimal(str(seconds)) / 3600 / HOUR_STEP).to_integral_value(ROUND_CEILING)
    return max(steps, Decimal(1)) * HOUR_STEP


# --- Price ---------------------------------------------------------------------------------------------------


def rate_of(pool: Pool | None, idle: bool) -> Decimal | None:
    """The price of a device hour in settings.CURRENCY; None without a pool, which is not charged for."""
    return None if pool is None else pool.idle_price if idle else pool.price


def price_of(hours: Decimal, devices: int, rate: Decimal | None) -> Decimal | None:
    """The price of so many hours on so many devices, four decimals."""
    return None if rate is None else (hours * devices * rate).quantize(Decimal("0.0001"), ROUND_HALF_UP)


# --- What it came to -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """The estimate of a run beside what it came to so far. None is unknown; hours as they are charged."""

    is_samples: bool
    estimated_amount: int | None
    amount: int | None
    estimated_hours: Decimal | None
    hours: Decimal | None
    estimated_price: Decimal | None
    price: Decimal | None
    currency: str


def comparison(run: Run) -> Comparison:
    """Estimate against actual, at the price that held when the run was submitted."""
    stored = run.estimate
    rate = _decimal(stored.get("rate"))
    is_samples = run.job.model_type == ModelType.TEXT_TO_IMAGE
    seconds = held_seconds(run)
    hours = charged_hours(seconds) if seconds else None
    return Comparison(
        is_samples=is_samples,
        estimated_amount=stored.get("samples" if is_samples else "tokens"),
        amount=amount_of(run.job.model_type, run.summary.get("data"), run.epoch),
        estimated_hours=_decimal(stored.get("hours")),
        hours=hours,
        estimated_price=_decimal(stored.get("price")),
        price=None if hours is None else price_of(hours, run.devices, rate),
        currency=stored.get("currency") or settings.CURRENCY,
    )


def held_seconds(run: Run) -> float:
    """Seconds for which the run has held its devices by now."""
    now = (timezone.now() - run.claimed_at).total_seconds() if run.claimed_at else 0.0
    return run.held_seconds + now


def amount_of(model_type: str, data: dict[str, Any] | None, epoch: float) -> int | None:
    """Tokens (samples of a text-to-image run) that passed through the model in so many epochs; `data` is the
    trainer's report of the rows."""
    if not data or not epoch:
        return None
    if model_type == ModelType.TEXT_TO_IMAGE:
        return round(((data.get("rows") or 0) + (data.get("eval_rows") or 0)) * epoch)
    return round(epoch_tokens(data) * epoch)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
