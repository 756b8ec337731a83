"""The data table of a run's page: what went in, as the worker noted it; before that, what is planned."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from catalog.values import format_number
from datasets.models import DatasetVersion
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
            label=_label(run, item["source"], by_uid.get(item["source"])) or item["label"],
            tag=_tag(item["source"]),
            available=item["rows_available"],
            rate=_rate(by_uid.get(item["source"])),
            trained=item["rows_trained"],
            held_out=item["rows_held_out"],
        )
        for item in noted
    ]


def data_totals(rows: list[DataRow]) -> dict[str, int] | None:
    """Rows that are trained on and held out altogether; None where one part says it already."""
    if len(rows) < 2:
        return None
    return {"trained": sum(row.trained for row in rows), "held_out": sum(row.held_out for row in rows)}


def _planned(run: Run, sources: list[RunSource]) -> list[DataRow]:
    parts = mix(run)
    own = [
        DataRow(
            uid=_link(run, source.version.uid, source),
            label=source.version.label_in(run.job.workspace_id),
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


def test_set(run: Run) -> tuple[str, str] | None:
    """Uid (empty where the reader may not open it) and name of the version that a run is tested on, if it is."""
    uid = run.test_version.uid if run.test_version else ""
    return (_link(run, uid, None), _label(run, uid, None)) if uid else None


def _link(run: Run, uid: str, source: RunSource | None) -> str:
    """The uid, where it is a version of the run's own workspace."""
    version = _version(run, uid, source)
    return uid if version and version.dataset.workspace_id == run.job.workspace_id else ""


def _label(run: Run, uid: str, source: RunSource | None) -> str:
    """What the reader calls the version, or the corpus in their language; empty for what is neither."""
    if uid == Kind.CORPUS and run.corpus:
        return str(run.corpus)
    version = _version(run, uid, source)
    return version.label_in(run.job.workspace_id) if version else ""


def _version(run: Run, uid: str, source: RunSource | None) -> DatasetVersion | None:
    version = source.version if source else run.test_version
    return version if version and version.uid == uid else None


def _tag(source: str) -> str:
    return {Kind.CORPUS.value: _("General corpus"), Kind.BASE_RUN.value: _("Base run")}.get(source, "")


def _rate(source: RunSource | None) -> str:
    return format_number(source.sampling_rate) if source else ""
