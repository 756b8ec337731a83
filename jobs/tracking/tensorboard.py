"""TensorBoard: one event file for each run, in TENSORBOARD_DIR/<workspace>/<job>/<run>/."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.text import get_valid_filename

from console.models import Workspace
from jobs.models import Metric, Run
from jobs.tracking import due
from jobs.tracking.models import Target, Tracked, Tracking

# TensorBoard groups curves by what stands before the slash.
GROUPS = {"eval_": "eval/"}


def directory_of(workspace: Workspace) -> Path:
    """What `tensorboard --logdir` is given."""
    return Path(settings.TENSORBOARD_DIR) / f"{workspace.pk}-{get_valid_filename(workspace.name)}"


def send(tracking: Tracking) -> None:
    """Appends what is new; raises OSError. A kill half way leaves a tail that the next attempt cuts off."""
    for run in due.due_runs(tracking, Target.TENSORBOARD):
        with transaction.atomic():
            tracked = due.locked(run, Target.TENSORBOARD)
            if tracked is None:
                continue
            points = due.new_points(run, tracked.sent)
            if points:
                _append(tracked, tracking.workspace, run, points)
            due.note_sent(tracked, run, points)


def _append(tracked: Tracked, workspace: Workspace, run: Run, points: list[Metric]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    if not tracked.reference:
        job = f"{get_valid_filename(run.job.name)}-{run.job.uid}"
        name = f"events.out.tfevents.{int(run.created_at.timestamp())}.{run.uid}"
        tracked.reference = f"{job}/{run.label}-{run.uid}/{name}"
    path = directory_of(workspace) / tracked.reference
    path.parent.mkdir(parents=True, exist_ok=True)
    now = timezone.now().timestamp()
    with path.open("ab") as file:
        file.truncate(tracked.size)
        # "ab" writes at the end, wherever the position is.
        writer = RecordWriter(file)
        if not tracked.size:
            writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        for point in points:
            value = Summary.Value(tag=_tag(point.key), simple_value=point.value)
            event = Event(wall_time=now, step=point.step, summary=Summary(value=[value]))
            writer.write(event.SerializeToString())
        file.flush()
        os.fsync(file.fileno())
        tracked.size = file.seek(0, os.SEEK_END)


def _tag(key: str) -> str:
    for prefix, group in GROUPS.items():
        if key.startswith(prefix):
            return group + key.removeprefix(prefix)
    return f"train/{key}"
