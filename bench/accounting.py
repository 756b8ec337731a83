"""Whether everything that was asked of the console has come to its right end, once: what `bench.chaos` asks after a
storm. Each check returns a line for each thing that is not as it must be; none where all is well.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from django.conf import settings
from django.core.files.storage import default_storage

from catalog.models import ModelVersion
from catalog.models.registry import ModelVersionState
from console.models import Notification
from jobs.models import Publication, Run, RunState
from jobs.run_files import run_directory
from jobs.training.events import FILE_NAME, Event, read_events

ENDS = ("done", "failed", "stopped")
# How far the losses of two runs of one configuration may be apart: they are computed alike.
CLOSE = 1e-4


def events_of(run: Run) -> list[Event]:
    return read_events(run_directory(run) / FILE_NAME)[0]


def steps_trained(events: Iterable[Event]) -> dict[int, float]:
    """The loss of each step as the trainer last reported it."""
    return {
        event["step"]: event["values"]["loss"]
        for event in events
        if event["type"] == "metrics" and "loss" in event["values"]
    }


# --- Of one run ---------------------------------------------------------------------------------------------------


def state(run: Run, expected: set[str]) -> Iterator[str]:
    """It ended as it should, and the timeline tells of one end and of one beginning."""
    if run.state not in expected:
        code = f" ({run.failure['code']})" if run.failure else ""
        yield f"is {run.state}{code} instead of {' or '.join(sorted(expected))}"
    kinds = Counter(run.timeline.values_list("kind", flat=True))
    for kind in ("submitted", *ENDS):
        wanted = int(kind in ("submitted", run.state.lower()))
        if kinds[kind] != wanted:
            yield f"has {kinds[kind]} × “{kind}” on its timeline"
    if run.is_terminal and (run.follower or run.claimed_at or run.heartbeat_at):
        yield "is over and still held"


def notifications(run: Run) -> Iterator[str]:
    """Its people were told once that it is done or has failed, and of nothing that did not happen."""
    told = Counter(Notification.objects.filter(data__uid=run.uid).values_list("kind", flat=True))
    for kind, end in (("run.done", RunState.DONE), ("run.failed", RunState.FAILED)):
        if told[kind] != int(run.state == end):
            yield f"is {run.state}, and {told[kind]} × “{kind}” was told"
    interruptions = run.timeline.filter(kind="preempted").count()
    if told["run.preempted"] != interruptions // settings.PREEMPTIONS_NOTED:
        yield f"was interrupted {interruptions} times, and that was told {told['run.preempted']} times"


def metrics(run: Run) -> Iterator[str]:
    """Every step up to the last has its loss, and the one that was reported last; nothing was left unread."""
    events = events_of(run)
    reported = steps_trained(events)
    stored = dict(run.metrics.filter(key="loss").values_list("step", "value"))
    last = run.total_steps if run.state == RunState.DONE else max(reported, default=0)
    if missing := sorted(set(range(1, (last or 0) + 1)) - set(stored)):
        yield f"has no loss of {len(missing)} steps, the first {missing[0]}"
    if beyond := sorted(set(stored) - set(reported)):
        yield f"has a loss of steps that were never trained: {beyond[:5]}"
    if wrong := [step for step in sorted(set(stored) & set(reported)) if stored[step] != reported[step]]:
        yield f"has another loss than the trainer reported, first at step {wrong[0]}"
    path = run_directory(run) / FILE_NAME
    if path.exists() and run.is_terminal and run.events_offset != path.stat().st_size:
        yield f"has read {run.events_offset} of {path.stat().st_size} bytes of its events"


def checkpoints(run: Run) -> Iterator[str]:
    """Those in the database are those on the disk."""
    folder = run_directory(run) / "checkpoints"
    on_disk = {path.name for path in folder.glob("checkpoint-*")}
    known = {f"checkpoint-{step}" for step in run.checkpoints.values_list("step", flat=True)}
    if missing := known - on_disk:
        yield f"has checkpoints that are not on the disk: {sorted(missing)}"
    if unknown := on_disk - known:
        yield f"has checkpoints that the console does not know: {sorted(unknown)}"


def trainers(events: Iterable[Event]) -> Iterator[str]:
    """One trainer at a time, from a run's events: after a start only that trainer reports, step by step from where
    it resumed, until another one starts; and after the end nobody does."""
    current: tuple[int, int] | None = None  # attempt and step
    done = False
    for event in events:
        if done:
            yield f"went on after it was done: {event['type']} of start {event['attempt']}"
            return
        if event["type"] == "start":
            if current is not None and event["attempt"] <= current[0]:
                yield f"started as number {event['attempt']} after number {current[0]}"
            current = event["attempt"], event["resumed_from"] or 0
        elif event["type"] == "metrics" and "loss" in event["values"]:
            if current is None or event["attempt"] != current[0] or event["step"] != current[1] + 1:
                yield f"trained step {event['step']} (start {event['attempt']}) after {current}"
                return
            current = event["attempt"], event["step"]
        done = event["type"] == "done"


def publication(run: Run) -> Iterator[str]:
    """Published once if it was to be and is done: all files there, whole, and no others."""
    entries = run.timeline.filter(kind="published").count()
    version = run.model_version
    if run.publication == Publication.OFF or run.state != RunState.DONE:
        if entries or version or run.publication not in (Publication.OFF, Publication.SKIPPED):
            yield f"is {run.state} and its publication is {run.publication}"
        return
    if run.publication != Publication.PUBLISHED or version is None or entries != 1:
        yield f"is done and its publication is {run.publication}, {entries} × on its timeline"
        return
    if version.state != ModelVersionState.READY:
        yield f"was published as {version}, which is {version.state}"
    recorded = {item["name"]: item["sha256"] for item in version.files}
    stored = dict(_stored(f"models/{version.uid}"))
    if recorded.keys() != stored.keys():
        yield f"was published as {version}: other files than recorded: {sorted(recorded.keys() ^ stored.keys())}"
    elif broken := [name for name, digest in stored.items() if digest != recorded[name]]:
        yield f"was published as {version}: not whole: {broken}"


def _stored(prefix: str, below: str = "") -> Iterator[tuple[str, str]]:
    """Name and sha256 of every file in the storage below a prefix."""
    folders, files = default_storage.listdir(prefix)
    for name in files:
        with default_storage.open(f"{prefix}/{name}") as file:
            yield below + name, hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    for folder in folders:
        yield from _stored(f"{prefix}/{folder}", f"{below}{folder}/")


# --- Of all of them -----------------------------------------------------------------------------------------------


def versions(runs: Iterable[Run]) -> Iterator[str]:
    """No model version beside those of the runs, and no number of a model left out."""
    own = {run.model_version_id for run in runs if run.model_version_id is not None}
    for version in ModelVersion.objects.exclude(pk__in=own):
        yield f"{version} belongs to no run"
    numbers: dict[int, list[int]] = {}
    for version in ModelVersion.objects.all():
        numbers.setdefault(version.model_id, []).append(version.number)
    for found in numbers.values():
        if sorted(found) != list(range(1, len(found) + 1)):
            yield f"a model has the versions {sorted(found)}"


def twins(runs: Iterable[Run], alike: Callable[[Run], object]) -> Iterator[str]:
    """Runs of one configuration have the same loss at every step, however often they were interrupted."""
    first: dict[object, tuple[Run, dict[int, float]]] = {}
    for run in runs:
        if run.state != RunState.DONE:
            continue
        curve = dict(run.metrics.filter(key="loss").values_list("step", "value"))
        other, expected = first.setdefault(alike(run), (run, curve))
        for step in sorted(curve.keys() & expected.keys()):
            if not math.isclose(curve[step], expected[step], rel_tol=CLOSE, abs_tol=CLOSE):
                yield (
                    f"{run} and {other} part at step {step}: {curve[step]:.5f} (starts: {run.attempt}), "
                    f"{expected[step]:.5f} (starts: {other.attempt})"
                )
                break
