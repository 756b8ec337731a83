"""The data table of a run's page: what went in, as the worker noted it; before that, what is planned."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from catalog.values import format_number
from jobs.mix import Kind, MixPart, mix, run_sources
from jobs.models import Run, RunSource


@dataclass(frozen=True)
class DataRow:
    """One line. `uid` is that of a dataset version that the reader may open, else empty; `tag` says where rows
    come from that are no chosen dataset; `available` is None where it is not known yet."""

    uid: str
    label: str
    tag: str
    available: int | None
    rate: str
    trained: int
    held_out: int


def data_rows(run: Run) -> list[DataRow]:
    """Every part of the run's data, in the order in which it was written."""
    sources = run_sources(run)
    noted = run.summary.get("mix")
    if noted is None:
        return _planned(run, sources)
    by_uid = {source.version.uid: source for source in sources}
    return [
        DataRow(
            uid=_link(run, item["source"], by_uid.get(item["source"])),
            label=item["label"],
            tag=_tag(item["source"]),
            available=item["rows_available"],
            rate=_rate(by_uid.get(item["source"])),
            trained=item["rows_trained"],
            held_out=item["rows_held_out"],
        )
        for item in noted
    ]


def _planned(run: Run, sources: list[RunSource]) -> list[DataRow]:
    parts = mix(run)
    own = [
        DataRow(
            uid=_link(run, source.version.uid, source),
            label=part.label,
            tag="",
            available=source.version.row_count,
            rate=_rate(source),
            trained=part.trained,
            held_out=part.held_out,
        )
        for source, part in zip(sources, parts, strict=False)
    ]
    return own + [_planned_extra(run, part) for part in parts[len(own) :]]


def _planned_extra(run: Run, part: MixPart) -> DataRow:
    available = run.corpus.version.row_count if part.kind == Kind.CORPUS and run.corpus else None
    return DataRow("", part.label, _tag(part.kind), available, "", part.trained, 0)


def _link(run: Run, uid: str, source: RunSource | None) -> str:
    """The uid, where it is a version of the run's own workspace."""
    version = source.version if source else run.test_version if run.test_version else None
    if version is None or version.uid != uid:
        return ""
    return uid if version.dataset.workspace_id == run.job.workspace_id else ""


def _tag(source: str) -> str:
    return {Kind.CORPUS.value: _("General corpus"), Kind.BASE_RUN.value: _("Base run")}.get(source, "")


def _rate(source: RunSource | None) -> str:
    return format_number(source.sampling_rate) if source else ""
