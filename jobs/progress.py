"""From the trainer's events to the database: exactly once each, whatever is killed meanwhile.

Events and the byte offset behind them are stored in one transaction, so a follower that starts again reads on
where the last one committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from jobs import lifecycle
from jobs.models import Checkpoint, Metric, Run
from jobs.training.events import Event

# Of the samples the newest are shown: so many rows of two pictures.
SAMPLES_KEPT = 24
# Of a prompt's replies the first (before training) and so many of the newest.
REPLIES_KEPT = 8
TERMINAL_EVENTS = ("done", "stopped", "failed")


def store(run: Run, events: Iterable[Event], offset: int) -> Event | None:
    """Applies events to the run and remembers the offset; returns the last terminal event among them.

    Raises LeaseLost if another worker has taken the run over.
    """
    terminal = None
    points: dict[tuple[str, int], float] = {}
    with lifecycle.leased(run) as current:
        for event in events:
            if event["type"] in TERMINAL_EVENTS:
                terminal = event
            elif event["type"] == "metrics":
                points |= {(key, event["step"]): value for key, value in event["values"].items()}
            if handler := HANDLERS.get(event["type"]):
                handler(current, event)
        Metric.objects.bulk_create(
            (Metric(run=current, key=key, step=step, value=value) for (key, step), value in points.items()),
            batch_size=1000,
            # A resumed trainer reports the steps since its checkpoint again.
            update_conflicts=True,
            unique_fields=["run", "key", "step"],
            update_fields=["value"],
        )
        current.events_offset = offset
        current.save()
    run.refresh_from_db()
    return terminal


def _note(run: Run, kind: str, event: Event, **data: Any) -> None:
    """An entry of the timeline; one that is there already was read from this file before (jobs/follow.py)."""
    at = _time(event)
    if not run.timeline.filter(kind=kind, at=at).exists():
        lifecycle.note(run, kind, at=at, **data)


def _time(event: Event) -> datetime:
    return datetime.fromisoformat(event["time"])


def _start(run: Run, event: Event) -> None:
    run.total_steps = event["total_steps"]
    run.resolved = event["resolved"]
    run.summary = {
        **run.summary,
        **{key: event[key] for key in ("host", "device", "dtype", "epochs", "parameters", "versions")},
    }
    if event["resumed_from"] is not None:
        run.step = event["resumed_from"]
        _note(run, "resumed", event, step=event["resumed_from"])
    else:
        run.step = 0
        _note(run, "started", event, host=event["host"], device=event["device"])


def _phase(run: Run, event: Event) -> None:
    run.phase = event["name"]


def _prepared(run: Run, event: Event) -> None:
    run.summary = {**run.summary, "data": _fields(event)}


def _progress(run: Run, event: Event) -> None:
    run.step, run.total_steps = event["step"], event["total_steps"]
    run.epoch, run.eta_seconds = event["epoch"], event["eta_seconds"]


def _checkpoint(run: Run, event: Event) -> None:
    _saved, new = Checkpoint.objects.update_or_create(
        run=run,
        step=event["step"],
        defaults={
            "path": event["path"],
            "size": event["bytes"],
            "loss": event.get("loss"),
            "eval_loss": event.get("eval_loss"),
            "created_at": _time(event),
        },
    )
    if new:
        _note(run, "checkpoint", event, step=event["step"])


def _checkpoint_removed(run: Run, event: Event) -> None:
    Checkpoint.objects.filter(run=run, step=event["step"]).delete()


def _sample(run: Run, event: Event) -> None:
    """What the model makes of held-out prompts at a checkpoint; a resumed trainer draws the same ones again."""
    sample = _fields(event)
    if sample["kind"] == "text":
        _reply(run, sample)
        return
    kept = [item for item in run.summary.get("samples", ()) if item["path"] != sample["path"]]
    run.summary = {**run.summary, "samples": [*kept, sample][-SAMPLES_KEPT:]}


def _reply(run: Run, sample: dict[str, Any]) -> None:
    """Puts a reply under its prompt: summary["replies"] = [{"prompt", "reference", "picture", "replies":
    [{"step", "text"}, …]}, …], steps ascending."""
    asked = {key: sample[key] for key in ("prompt", "reference", "picture")}
    prompts = [dict(item) for item in run.summary.get("replies", ())]
    entry = next((item for item in prompts if item["prompt"] == asked["prompt"]), None)
    if entry is None:
        entry = asked | {"replies": []}
        prompts.append(entry)
    others = [reply for reply in entry["replies"] if reply["step"] != sample["step"]]
    replies = [*others, {"step": sample["step"], "text": sample["reply"]}]
    replies.sort(key=lambda reply: reply["step"])
    entry["replies"] = [*replies[:1], *replies[1:][-REPLIES_KEPT:]]
    run.summary = {**run.summary, "replies": prompts}


def _warning(run: Run, event: Event) -> None:
    _note(
        run,
        "warning",
        event,
        code=event["code"],
        params=event["params"],
        message=event["message"],
    )


def _done(run: Run, event: Event) -> None:
    run.step = event["step"]
    run.summary = {**run.summary, "result": _fields(event)}


def _fields(event: Event) -> dict[str, Any]:
    """What an event says, without what every event has."""
    return {key: value for key, value in event.items() if key not in {"type", "time", "attempt"}}


HANDLERS: dict[str, Callable[[Run, Event], None]] = {
    "start": _start,
    "phase": _phase,
    "prepared": _prepared,
    "progress": _progress,
    "checkpoint": _checkpoint,
    "checkpoint_removed": _checkpoint_removed,
    "sample": _sample,
    "warning": _warning,
    "done": _done,
}
