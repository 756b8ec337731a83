"""What a run's data come to before anything is read: rows and characters of each source, of the general corpus
and of the base run's data. jobs/run_data.py draws the rows themselves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from django.db.models import Prefetch, prefetch_related_objects

from datasets.mixing import Source, characters_of, corpus_rows, plan, sampled_rows
from datasets.models import DatasetVersion
from jobs.data_rules import DataRules, rules_for
from jobs.models import Run, RunSource

if TYPE_CHECKING:
    from jobs.configuration import Configuration


class Kind(StrEnum):
    """Where rows come from. The values stand in `Run.summary["mix"]` where there is no version's uid."""

    SOURCE = "source"
    CORPUS = "corpus"
    BASE_RUN = "base_run"


@dataclass(frozen=True)
class MixPart:
    """One line of the mix.

    `rows` are those after sampling, before a share is held out: what the rule of 100 rows counts. `trained` and
    `held_out` come after it. `characters` are those of the rows that are trained on, `held_out_characters` those of
    the others, as spread evenly over the rows of a version. `version` is None for the data of a base run, which are
    of several.
    """

    kind: Kind
    label: str
    rate: float | None
    rows: int
    trained: int
    held_out: int
    characters: float
    held_out_characters: float = 0.0
    version: DatasetVersion | None = None


def mix(configuration: Configuration | Run) -> list[MixPart]:
    """The parts of a run that is asked for or that exists, in the order in which they are written.

    The corpus goes with the rows that are trained on, so that the ratio holds in training: 1:5 of 100 rows of
    which 20 are held out are 16 rows.
    """
    rules = data_rules(configuration)
    sources = sources_of(configuration)
    split = 0.0 if configuration.test_version else configuration.split_ratio
    parts = [
        MixPart(
            kind=Kind.SOURCE,
            label=str(part.source.version),
            rate=part.source.sampling_rate,
            rows=sampled_rows(part.taken, part.source.sampling_rate),
            trained=part.trained,
            held_out=part.held_out,
            characters=characters_of(part.source.version, part.trained),
            held_out_characters=characters_of(part.source.version, part.held_out),
            version=part.source.version,
        )
        for part in plan(sources, split, rules.most_rows, rules.most_held_out)
    ]
    if configuration.corpus is not None:
        version = configuration.corpus.version
        own = sum(part.trained for part in parts)
        rows = corpus_rows(own, configuration.corpus_ratio, version.row_count)
        label, characters = str(configuration.corpus), characters_of(version, rows)
        parts.append(MixPart(Kind.CORPUS, label, None, rows, rows, 0, characters, version=version))
    if configuration.base_run is not None and mixes_base(configuration):
        base = mix(configuration.base_run)
        trained = trained_rows(configuration.base_run, base)
        rows = round(trained * configuration.base_mix / 100)
        characters = rows * sum(part.characters for part in base) / max(1, sum(part.trained for part in base))
        parts.append(MixPart(Kind.BASE_RUN, str(configuration.base_run), None, rows, rows, 0, characters))
    return parts


def counted_rows(parts: list[MixPart]) -> int:
    """The rows that the rule about the least number counts (seed: 数据1 x 采样率1 + 千帆混合语料)."""
    return sum(part.rows for part in parts if part.kind != Kind.BASE_RUN)


def sources_of(configuration: Configuration | Run) -> list[Source]:
    """The dataset versions of a configuration or of a run, with their sampling rates."""
    if isinstance(configuration, Run):
        return [Source(item.version, item.sampling_rate) for item in run_sources(configuration)]
    return configuration.sources


def run_sources(run: Run) -> list[RunSource]:
    """A run's sources with version and dataset, read once."""
    prefetch_related_objects([run], Prefetch("sources", RunSource.objects.select_related("version__dataset")))
    return list(run.sources.all())


def data_rules(configuration: Configuration | Run) -> DataRules:
    """The rules for the data of a configuration or of a run."""
    if isinstance(configuration, Run):
        return rules_for(configuration.job.model_type, configuration.method)
    return rules_for(configuration.model_type, configuration.method)


def mixes_base(configuration: Configuration | Run) -> bool:
    """Whether a share of the base run's rows can be trained on again: they are of the same kind."""
    base = configuration.base_run
    return base is not None and data_rules(base).row_type == data_rules(configuration).row_type


def trained_rows(run: Run, parts: list[MixPart]) -> int:
    """How many rows a run trained on: as it noted when it wrote them, else as planned."""
    if noted := run.summary.get("mix"):
        return sum(item["rows_trained"] for item in noted)
    return sum(part.trained for part in parts)
