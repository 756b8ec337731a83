"""Which runs have something to send, and what."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from jobs.models import Metric, Run
from jobs.tracking.models import Target, Tracked, Tracking

# A target that was away for longer is not told of runs that had ended before.
REMEMBERED_DAYS = 7
# So many points of a run go out at once; MLflow takes at most 1,000 in a request.
BATCH_POINTS = 10_000


def due_runs(tracking: Tracking, target: Target) -> list[Run]:
    """Runs of the workspace that have begun and of which not everything has been sent."""
    complete = Tracked.objects.filter(run=OuterRef("pk"), target=target, complete_at=OuterRef("finished_at"))
    recent = Q(finished_at=None) | Q(finished_at__gt=Now() - timedelta(days=REMEMBERED_DAYS))
    runs = Run.objects.filter(
        recent, ~Exists(complete), job__workspace=tracking.workspace_id, started_at__isnull=False
    )
    return list(
        runs.filter(created_at__gte=tracking.since).select_related("job", "base_model").order_by("pk")
    )


def locked(run: Run, target: Target) -> Tracked | None:
    """The run's row for a target, locked until the end of the transaction; None while another worker has it."""
    Tracked.objects.get_or_create(run=run, target=target)
    return Tracked.objects.select_for_update(skip_locked=True).filter(run=run, target=target).first()


def new_points(run: Run, sent: dict[str, int]) -> list[Metric]:
    """The next points that have not been sent, steps ascending.

    A resumed trainer reports the steps since its checkpoint again, with the same values: they go out once.
    """
    wanted = ~Q(key__in=list(sent))
    for key, step in sent.items():
        wanted |= Q(key=key, step__gt=step)
    points: QuerySet[Metric] = Metric.objects.filter(wanted, run=run).order_by("step", "key")
    return list(points[:BATCH_POINTS])


def note_sent(tracked: Tracked, run: Run, points: list[Metric]) -> None:
    """Remembers what has arrived. Fewer points than were asked for means that all of the run has."""
    for point in points:
        tracked.sent[point.key] = max(point.step, tracked.sent.get(point.key, -1))
    tracked.error = ""
    if len(points) < BATCH_POINTS:
        tracked.complete_at = run.finished_at
    tracked.save()


def problems(tracking: Tracking) -> QuerySet[Tracked]:
    """What could not be sent of late, newest runs first."""
    of_workspace = Tracked.objects.filter(run__job__workspace=tracking.workspace_id).exclude(error="")
    return of_workspace.select_related("run__job").order_by(F("run__created_at").desc())
