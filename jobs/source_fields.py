"""The sources of 数据配置, for the form of a run: which dataset versions may be chosen, which are, and what was typed
for them. Of hundreds a few are shown; what is chosen is always among them, and a search finds the rest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django import forms
from django.db.models import Case, Q, QuerySet, Value, When
from django.http import QueryDict
from django.utils.translation import gettext as _

from console.models import Workspace
from datasets.models import DatasetVersion, RowType, SharedKind, VersionState
from jobs.data_rules import DataRules, rules_for
from jobs.model_choice import ModelChoice

# Rows of the list, and how many more a click brings.
SHOWN_SOURCES = 20
# So many of the newest versions can be chosen as a test set.
MOST_TEST_SETS = 100
# So many versions that do not fit are shown with the reason.
SHOWN_UNFIT = 5


@dataclass(frozen=True)
class SourceRow:
    """A dataset version that may be chosen to train on, and what was typed for it. One in place (S3/BOS) can be
    chosen while its rows are still counted."""

    version: DatasetVersion
    label: str
    is_preset: bool
    is_chosen: bool
    rate: str
    errors: Sequence[str] = ()

    @property
    def is_in_place(self) -> bool:
        return hasattr(self.version, "location")

    @property
    def is_counting(self) -> bool:
        return self.version.state == VersionState.IMPORTING

    @property
    def is_published(self) -> bool:
        return self.version.state == VersionState.PUBLISHED


class SourceFields(forms.Form):
    """What the form of a run asks about its sources. `source_used` is a folder that was chosen a moment ago."""

    source_q = forms.CharField(required=False)
    source_shown = forms.IntegerField(required=False)

    workspace: Workspace
    typed: QueryDict
    choice: ModelChoice

    @property
    def rules(self) -> DataRules:
        """What the chosen type and method ask of their data."""
        return rules_for(self.choice.model_type, self.choice.offer.method if self.choice.offer else "")

    @property
    def usable_versions(self) -> QuerySet[DatasetVersion]:
        """The published versions that the chosen type can train on: the workspace's own, newest first, then
        those that the operator offers to all (预置数据集)."""
        is_foreign = Case(When(dataset__workspace=self.workspace, then=Value(0)), default=Value(1))
        return self._usable_versions.order_by(is_foreign, "-published_at", "-pk")

    @property
    def _usable_versions(self) -> QuerySet[DatasetVersion]:
        """In no order, which costs as much as the rest where few are asked for."""
        is_preset = Q(shared__kind=SharedKind.PRESET, shared__enabled=True)
        versions = DatasetVersion.objects.filter(
            Q(dataset__workspace=self.workspace) | is_preset,
            dataset__row_type=self.rules.row_type,
            state=VersionState.PUBLISHED,
        )
        versions = versions.select_related("dataset", "shared", "location")
        return versions.defer("problems", "statistics", "location__manifest").order_by()

    def _ordered(self, versions: Iterable[DatasetVersion]) -> list[DatasetVersion]:
        """As `usable_versions` has them."""
        newest = sorted(versions, key=_newness, reverse=True)
        return sorted(newest, key=self._is_preset)

    @cached_property
    def published(self) -> list[DatasetVersion]:
        """The first of the usable versions: all there are in most workspaces, where the list has read them."""
        if self.source_query or self.has_more_sources:
            return list(self.usable_versions[:MOST_TEST_SETS])
        return self._ordered([*self.chosen_versions, *self._found])

    @cached_property
    def test_sets(self) -> list[tuple[str, str]]:
        """The choices of a test set. Read only where they are shown or checked."""
        tested = self.usable_version(self.typed.get("test_source", ""))
        versions = [tested] if tested and tested not in self.published else []
        options = [(version.uid, self.label_of(version)) for version in [*versions, *self.published]]
        return [("", _("Hold out a share of the training data")), *options]

    def label_of(self, version: DatasetVersion) -> str:
        return version.label_in(self.workspace.pk)

    def _is_preset(self, version: DatasetVersion) -> bool:
        return version.dataset.workspace_id != self.workspace.pk

    @property
    def typed_sources(self) -> set[str]:
        return set(self.typed.getlist("source") + self.typed.getlist("source_used"))

    @cached_property
    def chosen_versions(self) -> list[DatasetVersion]:
        uids = self.typed_sources
        return self._ordered(self._usable_versions.filter(uid__in=uids)) if uids else []

    @cached_property
    def counting_versions(self) -> list[DatasetVersion]:
        """Chosen versions in place whose rows are not counted yet, or could not be."""
        uids = self.typed_sources - {version.uid for version in self.chosen_versions}
        if not uids:
            return []
        versions = DatasetVersion.objects.filter(
            uid__in=uids, dataset__workspace=self.workspace, location__isnull=False
        )
        versions = versions.filter(state__in=(VersionState.IMPORTING, VersionState.FAILED))
        return list(versions.select_related("dataset", "location").defer("problems", "location__manifest"))

    def usable_version(self, uid: str) -> DatasetVersion | None:
        """The version of a uid, if it may be chosen."""
        return self._usable_versions.filter(uid=uid).first() if uid else None

    @cached_property
    def unfit_versions(self) -> list[DatasetVersion]:
        """The newest published versions of the workspace that hold rows of another kind: where a model learns from
        several kinds, people look for them. Shown with the reason, and cannot be chosen."""
        if len(self.choice.modes) < 2 or self.source_query:
            return []
        versions = DatasetVersion.objects.filter(
            dataset__workspace=self.workspace, state=VersionState.PUBLISHED
        ).exclude(dataset__row_type=self.rules.row_type)
        versions = versions.select_related("dataset").defer("problems", "statistics")
        return list(versions.order_by("-published_at", "-pk")[:SHOWN_UNFIT])

    @property
    def kind_of_rows(self) -> str:
        """What the rows must be, for people."""
        return str(RowType(self.rules.row_type).label)

    # --- The list --------------------------------------------------------------------------------------------

    @property
    def source_query(self) -> str:
        return self.typed.get("source_q", "").replace("\0", "").strip()[:100]

    @property
    def shown_sources(self) -> int:
        """How many rows are shown besides those that are chosen."""
        text = self.typed.get("source_shown", "")
        return min(int(text), 10_000) if text.isdecimal() and len(text) < 9 else SHOWN_SOURCES

    @property
    def more_sources(self) -> int:
        """How many are shown after a click on "show more"."""
        return self.shown_sources + SHOWN_SOURCES

    @property
    def has_source_search(self) -> bool:
        return bool(self.source_query) or len(self.chosen_versions) + len(self._found) > SHOWN_SOURCES

    @cached_property
    def _found(self) -> list[DatasetVersion]:
        """What the search finds besides the chosen ones, one more than is shown."""
        found = self.usable_versions.exclude(uid__in=[version.uid for version in self.chosen_versions])
        if text := self.source_query:
            named = Q(dataset__name__icontains=text) | Q(uid=text)
            shared = Q(shared__name_zh__icontains=text) | Q(shared__name_en__icontains=text)
            found = found.filter(named | shared)
        return list(found[: self.shown_sources + 1])

    @property
    def has_more_sources(self) -> bool:
        return len(self._found) > self.shown_sources

    @property
    def source_rows(self) -> list[SourceRow]:
        """Those that are chosen, then what is found."""
        chosen = [*self.counting_versions, *self.chosen_versions]
        rows = [self._row(version, is_chosen=True) for version in chosen]
        found = self._found[: self.shown_sources]
        return rows + [self._row(version, is_chosen=False) for version in found]

    def _row(self, version: DatasetVersion, *, is_chosen: bool) -> SourceRow:
        return SourceRow(
            version=version,
            label=self.label_of(version),
            is_preset=self._is_preset(version),
            is_chosen=is_chosen,
            rate=self.typed.get(f"rate-{version.uid}", "1"),
            errors=[str(error) for error in self.errors.get(f"rate-{version.uid}", [])],
        )


def _newness(version: DatasetVersion) -> tuple[datetime, int]:
    return version.published_at or version.created_at, version.pk
