"""For how long checkpoints are kept: as many days after the end of their run as the operator set for the
workspace (`Limits.checkpoint_days`), or for ever.

What a run came to always stays: the result of one that is done, the newest checkpoint of any other. Nothing
goes before people were warned of it (`warn`), also where a policy is new or was shortened. Nothing goes while a run
that builds on it is active or a model is being published from it; it goes as soon as that is over.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from catalog.models.registry import ModelVersionState
from console.deletion import record
from console.models import Workspace
from jobs import notifying
from jobs.lifecycle import note
from jobs.models import ACTIVE_STATES, TERMINAL_STATES, Checkpoint, Limits, Publication, Run, RunState

logger = logging.getLogger(__name__)
DAY = timedelta(days=1)
# How long before the day there is a warning.
WARNING_TIME = 7 * DAY
# Runs whose checkpoints one task deletes at most; the rest is for the next.
AT_ONCE = 500


def _days_of(workspace_id: int) -> int | None:
    """For how many days after the end of their run; None for ever."""
    limits = Limits.objects.filter(workspace=workspace_id)
    return limits.values_list("checkpoint_days", flat=True).first()


def notice_time(days: int) -> timedelta:
    """How long before checkpoints go there has to be a warning, where they are kept for so many days."""
    return min(WARNING_TIME, days * DAY / 2)


def kept_until(run: Run) -> datetime | None:
    """When the checkpoints of a run go; None where they are kept for ever or it is not known yet."""
    days = _days_of(run.job.workspace_id)
    if not days or not run.finished_at:
        return None
    warned_at = run.checkpoints_warned_at or timezone.now()
    return max(run.finished_at + days * DAY, warned_at + notice_time(days))


def goes_soon(until: datetime | None) -> bool:
    """Whether it is time to warn."""
    return until is not None and until - timezone.now() <= WARNING_TIME


def expendable(run: Run) -> list[Checkpoint]:
    """The checkpoints of a run that is over that may go: those that are not its result. Newest first."""
    saved = list(run.checkpoints.order_by("-step"))
    return saved if run.state == RunState.DONE else saved[1:]


def going_soon(workspace: Workspace) -> list[Run]:
    """The runs of a workspace some of whose checkpoints go within the time of the warning, the next first."""
    days = _days_of(workspace.pk)
    if not days:
        return []
    now = timezone.now()
    ended = now - days * DAY
    runs = _with_expendable(Run.objects.filter(job__workspace=workspace))
    # Later ones were warned of only after that day, or something needs them for as long as it is active.
    is_next = Q(finished_at__gt=ended) | Q(checkpoints_warned_at__gt=now - notice_time(days))
    runs = runs.filter(is_next, finished_at__lte=ended + WARNING_TIME)
    runs = runs.select_related("job").only("uid", "version", "job__name")
    return list(runs.order_by("finished_at", "pk")[:AT_ONCE])


def warn() -> int:
    """Tells the people of each workspace, once a day at most, whose checkpoints go next; returns of how many runs.

    What was said before and does not hold any more (kept for longer, or for ever) is forgotten, to be said anew.
    """
    forgotten = Run.objects.filter(checkpoints_warned_at__isnull=False)
    forgotten.exclude(job__workspace__limits__checkpoint_days__isnull=False).update(
        checkpoints_warned_at=None
    )
    warned = 0
    for workspace, days in _policies():
        warned += _warn(workspace, days)
    return warned


def _warn(workspace: int, days: int) -> int:
    now = timezone.now()
    # A day more, because the next time may be a day away.
    soon = now - days * DAY + notice_time(days) + DAY
    own = Run.objects.filter(job__workspace=workspace)
    own.filter(checkpoints_warned_at__isnull=False, finished_at__gt=soon).update(checkpoints_warned_at=None)
    going = own.filter(checkpoints_warned_at=None, finished_at__lte=soon)
    with transaction.atomic():
        found = _with_expendable(going).select_related("job").order_by("finished_at", "pk")
        runs = list(found.only("uid", "version", "finished_at", "job__name"))
        if not runs:
            return 0
        ended = runs[0].finished_at or now
        first = max(now + notice_time(days), ended + days * DAY)
        if not notifying.checkpoints_going(workspace, now.date(), first.date(), runs):
            return 0
        Run.objects.filter(pk__in=[run.pk for run in runs]).update(checkpoints_warned_at=now)
    return len(runs)


def _policies() -> list[tuple[int, int]]:
    """Workspaces, and for how many days they keep checkpoints."""
    limits = Limits.objects.filter(checkpoint_days__isnull=False)
    return [(workspace, days or 0) for workspace, days in limits.values_list("workspace", "checkpoint_days")]


def delete_old_checkpoints() -> int:
    """Deletes the checkpoints whose time is over and that there was a warning of; returns of how many runs."""
    cleared = 0
    for workspace, days in _policies():
        now = timezone.now()
        over = Run.objects.filter(
            job__workspace=workspace,
            finished_at__lte=now - days * DAY,
            checkpoints_warned_at__lte=now - notice_time(days),
        )
        keys = _unneeded(_with_expendable(over)).order_by("finished_at").values_list("pk", flat=True)
        cleared += sum(_clear(pk, days) for pk in list(keys[:AT_ONCE]))
    return cleared


def _with_expendable(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Those that are over and have saved more than their result."""
    saved = Checkpoint.objects.filter(run=OuterRef("pk")).order_by().values("run")
    several = saved.annotate(count=Count("pk")).filter(count__gt=1)
    has_more = Q(Exists(several)) | Q(Exists(saved), state=RunState.DONE)
    return runs.filter(has_more, state__in=TERMINAL_STATES)


def _unneeded(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Those that no active run builds on and no model is being published from."""
    built = Run.objects.filter(base_run=OuterRef("pk"), state__in=ACTIVE_STATES)
    is_publishing = Q(state=RunState.DONE, publication=Publication.PENDING) | Q(
        model_version__state=ModelVersionState.CREATING, model_version__isnull=False
    )
    return runs.filter(~Exists(built)).exclude(is_publishing)


def _clear(run_id: int, days: int) -> bool:
    """Deletes what may go of one run, if nothing needs it by now."""
    with transaction.atomic():
        # Whoever submits a run that builds on it waits for this lock.
        Run.objects.select_for_update(of=("self",)).filter(pk=run_id).first()
        run = _unneeded(Run.objects.filter(pk=run_id)).select_related("job__workspace").first()
        going = expendable(run) if run else []
        if run is None or not going:
            return False
        steps = [checkpoint.step for checkpoint in going]
        record(
            run.job.workspace,
            None,
            "checkpoints",
            run.uid,
            str(run),
            data={
                "job": run.job.uid,
                "steps": steps,
                "bytes": sum(item.size for item in going),
                "days": days,
            },
            run_directories=[f"{run.uid}/{checkpoint.path}" for checkpoint in going],
        )
        Checkpoint.objects.filter(pk__in=[checkpoint.pk for checkpoint in going]).delete()
        note(run, "checkpoints_deleted", count=len(going), days=days)
    logger.info("%d checkpoints of %s deleted after %d days", len(steps), run.uid, days)
    return True
