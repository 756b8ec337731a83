"""Whether the data of a configuration may be trained on: the table of jobs/data_rules.py, checked."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from catalog.values import format_number
from console.models import Workspace
from datasets.connections import ConnectionFailed
from datasets.locations import DataChanged, require_unchanged
from datasets.models import DatasetVersion, RowType, SharedData, SharedKind, VersionState
from jobs.data_rules import CORPUS_RATIO_RANGE, SAMPLING_RATE_RANGE, DataRules
from jobs.mix import counted_rows, data_rules, mix

if TYPE_CHECKING:
    from jobs.configuration import Configuration


def check_data(
    workspace: Workspace, configuration: Configuration, found: defaultdict[str, list[str]]
) -> None:
    """Published data of the right kind, rates and ratios in their ranges, and enough rows after all."""
    rules = data_rules(configuration)
    _check_sources(workspace, configuration, rules, found)
    _check_test_set(workspace, configuration, rules, found)
    _check_corpus(configuration, rules, found)
    if not configuration.sources:
        found["sources"].append(_("Choose at least one dataset."))
        return
    if any(key in ("sources", "corpus", "corpus_ratio") or key.startswith("rate-") for key in found):
        return  # what is counted makes no sense yet
    rows = counted_rows(mix(configuration))
    if rows < rules.minimum_rows:
        found["sources"].append(too_few_rows(rules, rows))


def too_few_rows(rules: DataRules, rows: int) -> str:
    """The sentence about data that are not enough."""
    if rules.row_type == RowType.IMAGE_CAPTION:
        text = ngettext(
            "At least %(minimum)d images are needed; this is %(rows)d.",
            "At least %(minimum)d images are needed; these are %(rows)d.",
            rows,
        )
    else:
        text = _("At least %(minimum)d rows are needed after sampling; these are %(rows)d.")
    return text % {"minimum": rules.minimum_rows, "rows": rows}


def _check_sources(
    workspace: Workspace, configuration: Configuration, rules: DataRules, found: defaultdict[str, list[str]]
) -> None:
    low, high = SAMPLING_RATE_RANGE
    for source in configuration.sources:
        if not low <= source.sampling_rate <= high:
            found[f"rate-{source.version.uid}"].append(
                _("The sampling rate must lie between %(low)s and %(high)s.")
                % {"low": low, "high": f"{high:g}"}
            )
        elif not rules.allows_mixing and source.sampling_rate != 1:
            found[f"rate-{source.version.uid}"].append(_("This job type takes every image once."))
        if problem := version_problem(workspace, rules, source.version):
            found["sources"].append(problem)


def check_places(configuration: Configuration) -> dict[str, list[str]]:
    """Asks the buckets whether data in place are still those that were counted; by field, as `problems`. Only where
    a run is submitted: it takes a request or more for each place."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    asked = [("sources", source.version) for source in configuration.sources]
    if configuration.test_version:
        asked.append(("test_source", configuration.test_version))
    if configuration.corpus:
        asked.append(("corpus", configuration.corpus.version))
    for field, version in asked:
        try:
            require_unchanged(version, is_waited_for=True)
        except DataChanged as changed:
            advice = _("Count them again on the page of the version, and choose the new one.")
            found[field].append(f"{changed} {advice}")
        except ConnectionFailed as failed:
            text = _("The data of %(version)s cannot be reached: %(reason)s")
            found[field].append(text % {"version": version, "reason": failed})
    return dict(found)


def _check_test_set(
    workspace: Workspace, configuration: Configuration, rules: DataRules, found: defaultdict[str, list[str]]
) -> None:
    version = configuration.test_version
    low, high = rules.split_range
    if version is None:
        if not low <= configuration.split_ratio <= high:
            found["split_ratio"].append(
                _("The split must lie between %(low)g and %(high)g percent.") % {"low": low, "high": high}
            )
    elif problem := version_problem(workspace, rules, version):
        found["test_source"].append(problem)
    elif any(source.version == version for source in configuration.sources):
        found["test_source"].append(
            _("%(version)s is trained on; a test set must hold other rows. Hold out a share of it instead.")
            % {"version": version}
        )


def _check_corpus(configuration: Configuration, rules: DataRules, found: defaultdict[str, list[str]]) -> None:
    corpus = configuration.corpus
    if corpus is None:
        return
    if not rules.allows_mixing:
        found["corpus"].append(_("Only large language models are trained with a general corpus."))
    elif not corpus.enabled or corpus.kind != SharedKind.CORPUS:
        found["corpus"].append(_("This general corpus is not offered any more."))
    elif corpus.version.dataset.row_type != rules.row_type:
        found["corpus"].append(
            _("%(corpus)s holds %(kind)s, which this job type cannot train on.")
            % {"corpus": corpus, "kind": corpus.version.dataset.get_row_type_display()}
        )
    low, high = CORPUS_RATIO_RANGE
    if not low <= configuration.corpus_ratio <= high:
        found["corpus_ratio"].append(
            _("General corpus to own data must lie between 1 : %(most)s and 1 : %(least)s.")
            % {"most": format_number(1 / low), "least": format_number(1 / high)}
        )


def version_problem(workspace: Workspace, rules: DataRules, version: DatasetVersion) -> str:
    """Why a dataset version cannot be used by a run, or an empty text."""
    if version.dataset.workspace_id != workspace.pk and not _is_preset(version):
        return _("This dataset does not exist in this workspace.")
    if version.state != VersionState.PUBLISHED:
        return _("%(version)s is not published yet.") % {"version": version}
    if version.dataset.row_type != rules.row_type:
        return _("%(version)s holds %(kind)s, which this job type cannot train on.") % {
            "version": version,
            "kind": version.dataset.get_row_type_display(),
        }
    return ""


def _is_preset(version: DatasetVersion) -> bool:
    """Whether the operator offers the version to every workspace."""
    return SharedData.objects.filter(version=version, kind=SharedKind.PRESET, enabled=True).exists()
