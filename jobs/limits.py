"""What a workspace may take: how many runs train at once, and how many device hours a month they hold.

Both are looked at when a run is to start, so that nobody gets round them by submitting early; a run that trains
already goes on. The month is the calendar month in UTC. What is used is added up when a run gives its devices
back (`charge`, called by jobs/lifecycle.py); what runs hold at the moment comes on top.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.models import Workspace
from jobs import notifying
from jobs.models import Limits, Run, RunState, Usage

HOUR = 3600


def month_of(at: datetime) -> datetime:
    """The first moment of the calendar month (UTC) in which `at` lies."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def month_after(month: datetime) -> datetime:
    """The first moment of the month after the one that begins at `month`."""
    is_last = month.month == 12
    return month.replace(year=month.year + is_last, month=1 if is_last else month.month + 1)


def charge(workspace_id: int, devices: int, since: datetime, until: datetime) -> None:
    """Adds the time from `since` to `until` to the months in which it lies."""
    while since < until:
        month = month_of(since)
        end = min(until, month_after(month))
        usage, _new = Usage.objects.get_or_create(workspace_id=workspace_id, month=month.date())
        added = devices * (end - since).total_seconds()
        Usage.objects.filter(pk=usage.pk).update(device_seconds=F("device_seconds") + added)
        since = end


def watch(workspaces: Collection[int] | None = None) -> None:
    """Tells the people of workspaces (None: of all) that most or all of their device hours are used."""
    limited = Limits.objects.filter(device_hours__gt=0)
    if workspaces is not None:
        limited = limited.filter(workspace__in=workspaces)
    month = month_of(timezone.now())
    for key, standing in standings(list(limited.values_list("workspace", flat=True))).items():
        notifying.hours_used(key, standing.hours, standing.most_hours or 0, month, standing.next_month)


@dataclass(frozen=True)
class Standing:
    """A workspace's limits and how far they are used; None is without limit."""

    running: int
    most_running: int | None
    hours: float
    most_hours: int | None
    next_month: datetime

    @property
    def has_used_its_hours(self) -> bool:
        return self.most_hours is not None and self.hours >= self.most_hours

    @property
    def room(self) -> int | None:
        """How many further runs may start now; None for any number."""
        if self.has_used_its_hours:
            return 0
        return None if self.most_running is None else max(0, self.most_running - self.running)

    @property
    def reason(self) -> str:
        """Why no run of the workspace may start now; empty if one may."""
        if self.room != 0:
            return ""
        if self.has_used_its_hours:
            # Hours beyond the limit were begun before it was reached.
            return _(
                "%(used)d of %(limit)d device hours of this workspace are used this month; the next month "
                "starts on %(day)s (UTC)."
            ) % {"used": self.hours, "limit": self.most_hours, "day": f"{self.next_month:%Y-%m-%d}"}
        text = ngettext(
            "This workspace already trains %(running)d of the %(limit)d run that it may train at once.",
            "This workspace already trains %(running)d of the %(limit)d runs that it may train at once.",
            self.most_running or 0,
        )
        return text % {"running": self.running, "limit": self.most_running}


def standings(workspaces: Collection[int], lock: bool = False) -> dict[int, Standing]:
    """Those of the workspaces (keys) that have a limit. With `lock`, in a transaction, nobody else who asks so
    starts a run of theirs before its end."""
    has_limit = Q(running__isnull=False) | Q(device_hours__isnull=False)
    limits = Limits.objects.filter(has_limit, workspace__in=workspaces).order_by("pk")
    found = list(limits.select_for_update(no_key=True, of=("self",)) if lock else limits)
    if not found:
        return {}
    now = timezone.now()
    month = month_of(now)
    keys = [item.workspace_id for item in found]
    count, seconds = dict.fromkeys(keys, 0), dict.fromkeys(keys, 0.0)
    used = Usage.objects.filter(workspace__in=keys, month=month.date())
    seconds.update(used.values_list("workspace", "device_seconds"))
    running = Run.objects.filter(state=RunState.RUNNING, job__workspace__in=keys).order_by()
    for key, devices, claimed_at in running.values_list("job__workspace", "devices", "claimed_at"):
        count[key] += 1
        if claimed_at is not None:
            seconds[key] += devices * max(0.0, (now - max(claimed_at, month)).total_seconds())
    return {
        item.workspace_id: Standing(
            running=count[item.workspace_id],
            most_running=item.running,
            hours=seconds[item.workspace_id] / HOUR,
            most_hours=item.device_hours,
            next_month=month_after(month),
        )
        for item in found
    }


def notice(workspace: Workspace) -> str | None:
    """Why a run that is submitted now would have to wait for the workspace's limits; None if it would not."""
    standing = standings([workspace.pk]).get(workspace.pk)
    return (standing.reason or None) if standing else None
