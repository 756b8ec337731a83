"""Runs side by side: how their configurations differ, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from catalog.methods import METHODS
from catalog.texts import localized
from catalog.values import format_number
from datasets.models import DatasetVersion
from jobs.curves import Curves, curves
from jobs.models import Run
from jobs.presentation import setting_groups
from jobs.templatetags.runs import duration, run_seconds

# As many as there are colours of curves; more columns would not be read side by side.
MAX_RUNS = 4
NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """One property with its value in each run. `best` is the index of the lowest loss, -1 for none."""

    label: str
    values: Sequence[str]
    key: str = ""
    best: int = -1

    @property
    def differs(self) -> bool:
        return len(set(self.values)) > 1

    @property
    def cells(self) -> list[tuple[str, bool]]:
        """Value, and whether it is the best."""
        return [(value, index == self.best) for index, value in enumerate(self.values)]


@dataclass
class Section:
    """A heading and its rows. `is_result` marks what came out; there, differences are no news."""

    label: str
    rows: list[Row] = field(default_factory=list)
    is_result: bool = False

    @property
    def differing(self) -> list[Row]:
        return self.rows if self.is_result else [row for row in self.rows if row.differs]


def compare(runs: Sequence[Run]) -> list[Section]:
    """Everything that can be told apart. The runs need base_model, base_run__job, corpus, pool,
    test_version and model_version loaded, and last_loss and last_eval_loss annotated."""
    return [_model(runs), _data(runs), *_hyperparameters(runs), _resources(runs), _results(runs)]


def overlaid(runs: Sequence[Run], keys: Sequence[str], after: int = 0) -> Curves:
    """The curves of several runs as those of one chart: a series a run and key, labelled with the run, and
    with the metric where there are several.

    One cursor serves all: it counts points of any run in the order in which they were stored.
    """
    answers = [(run, curves(run, keys, after)) for run in runs]
    return {
        "series": [
            {
                **series,
                "key": f"{series['key']}-{run.uid}",
                "label": str(run) if len(keys) == 1 else f"{run} · {series['label']}",
            }
            for run, answer in answers
            for series in answer["series"]
        ],
        "cursor": max((answer["cursor"] for _run, answer in answers), default=after),
        "active": any(answer["active"] for _run, answer in answers),
    }


def _row(label: str, runs: Sequence[Run], value: Callable[[Run], object]) -> Row:
    return Row(label, [NOTHING if (text := value(run)) in (None, "") else str(text) for run in runs])


def _model(runs: Sequence[Run]) -> Section:
    rows = [
        _row(_("Base model"), runs, lambda run: run.base_model.label),
        _row(_("Training method"), runs, lambda run: localized(METHODS[run.method], "label")),
    ]
    if any(run.base_run for run in runs):
        rows.append(_row(_("Base run"), runs, lambda run: run.base_run))
        rows.append(_row(_("Base step"), runs, lambda run: run.base_step))
        rows.append(_row(_("Share of the base run's data"), runs, _base_share))
    return Section(_("Model"), rows)


def _base_share(run: Run) -> str:
    return f"{format_number(run.base_mix)} %" if run.base_run else ""


def _data(runs: Sequence[Run]) -> Section:
    rates: dict[DatasetVersion, dict[int, float]] = {}
    names: dict[DatasetVersion, str] = {}
    for index, run in enumerate(runs):
        for source in run.sources.select_related("version__dataset"):
            rates.setdefault(source.version, {})[index] = source.sampling_rate
            names[source.version] = source.version.label_in(run.job.workspace_id)
    rows = [
        Row(
            _("Sampling rate of %(version)s") % {"version": names[version]},
            [format_number(found[index]) if index in found else NOTHING for index in range(len(runs))],
        )
        for version, found in rates.items()
    ]
    if any(run.corpus for run in runs):
        rows.append(_row(_("General corpus"), runs, lambda run: run.corpus))
        rows.append(_row(_("Rows of the corpus for each own row"), runs, _corpus_share))
    rows.append(_row(_("Test set"), runs, _test_set))
    return Section(_("Data"), rows)


def _corpus_share(run: Run) -> str:
    return format_number(run.corpus_ratio) if run.corpus else ""


def _test_set(run: Run) -> str:
    if run.test_version:
        return run.test_version.label_in(run.job.workspace_id)
    return f"{format_number(run.split_ratio)} %" if run.split_ratio else ""


def _hyperparameters(runs: Sequence[Run]) -> list[Section]:
    """A section for each group; a key that a run does not have (of another method) shows a dash."""
    sections: dict[str, dict[str, tuple[str, dict[int, str]]]] = {}
    for index, run in enumerate(runs):
        for group in setting_groups(run):
            for setting in group.settings:
                found = sections.setdefault(group.label, {})
                found.setdefault(setting.key, (setting.label, {}))[1][index] = setting.value
    return [
        Section(
            title,
            [
                Row(label, [values.get(index, NOTHING) for index in range(len(runs))], key)
                for key, (label, values) in found.items()
            ],
        )
        for title, found in sections.items()
    ]


def _resources(runs: Sequence[Run]) -> Section:
    rows = [
        _row(_("Resource pool"), runs, lambda run: run.pool),
        _row(_("Devices"), runs, lambda run: run.devices),
        _row(_("Idle training"), runs, lambda run: _("yes") if run.idle else _("no")),
    ]
    return Section(_("Resources"), rows)


def _results(runs: Sequence[Run]) -> Section:
    rows = [
        _row(_("State"), runs, lambda run: run.get_state_display()),
        _measured(_("Training loss"), [run.last_loss for run in runs]),  # type: ignore[attr-defined]
        _measured(_("Validation loss"), [run.last_eval_loss for run in runs]),  # type: ignore[attr-defined]
        _row(_("Duration"), runs, lambda run: duration(run_seconds(run))),
        _row(_("Steps"), runs, lambda run: run.step or ""),
        _row(_("Published as"), runs, lambda run: run.model_version),
    ]
    return Section(_("Results"), rows, is_result=True)


def _measured(label: str, values: Sequence[float | None]) -> Row:
    """A loss in each run; the lowest is marked where it can be told from the others."""
    known = [value for value in values if value is not None]
    texts = [NOTHING if value is None else f"{value:.4g}" for value in values]
    is_clear = len(known) > 1 and len({f"{value:.4g}" for value in known}) > 1
    return Row(label, texts, best=values.index(min(known)) if is_clear else -1)
