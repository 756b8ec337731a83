"""What an open page has seen of a run, in one word: as long as it stays the same, a poll needs no answer.

The word is made of one small query, so that many viewers of a run cost little. All that a trainer reports moves
`events_offset` (jobs/progress.py), all that people and the queue do moves the state, a request or the timeline.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

from django.core.cache import cache
from django.db.models import OuterRef, Subquery
from django.utils import timezone, translation

from console.access import get_visible
from console.models import User
from jobs.models import Run, RunState, TimelineEntry
from jobs.queueing import Place, place

# Seconds after which a run that still waits says that nobody may be there to take it.
LONG_WAIT_SECONDS = 60
# The time that a run has trained for is shown anew at least every so many seconds.
CLOCK_SECONDS = 30
# A place in the queue is looked up once for all viewers in so many seconds.
PLACE_SECONDS = 2

_COLUMNS = (
    *("pk", "state", "created_at", "events_offset", "attempt", "lease", "phase", "priority", "publication"),
    *("stop_requested_at", "preempt_requested_at", "finished_at"),
)


def word_of(parts: Iterable[Any]) -> str:
    """A short word that differs where the parts do."""
    return blake2b(repr(tuple(parts)).encode(), digest_size=8).hexdigest()


def seen_of(uid: str, user: User) -> str:
    """The word for what the page of a run shows now; raises Http404 for strangers."""
    newest = TimelineEntry.objects.filter(run=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    runs = Run.objects.values_list(*_COLUMNS, Subquery(newest), named=True)
    found = get_visible(runs, user, "job__workspace", uid=uid)  # type: ignore[type-var]
    parts: tuple[Any, ...] = tuple(found)
    if found.state == RunState.RUNNING:
        parts += (int(time.time() / CLOCK_SECONDS),)
    elif found.state == RunState.WAITING:
        shown = place_of(found.pk)
        minute = shown.starts_at and f"{shown.starts_at:%Y-%m-%d %H:%M}"
        parts += (
            shown.number,
            shown.busy,
            shown.makes_room,
            shown.limit,
            minute,
            waits_long(found.created_at),
        )
    return word_of(parts)


def listed(run: Run | None) -> tuple[Any, ...]:
    """What a line of a list shows of a run, in the sense of `word_of`."""
    if run is None:
        return ()
    clock = int(time.time() / CLOCK_SECONDS) if run.state == RunState.RUNNING else 0
    moved = (run.events_offset, run.attempt, run.phase, run.stop_requested_at, run.paused_at, run.finished_at)
    return (run.pk, run.state, *moved, run.model_version_id, clock)


def waits_long(since: Any) -> bool:
    return bool((timezone.now() - since).total_seconds() > LONG_WAIT_SECONDS)


def place_of(run_id: int) -> Place:
    """Where a waiting run stands, looked up at most every PLACE_SECONDS; its sentences are in the reader's language."""
    found: Place | None = cache.get(_place_key(run_id))
    return found or place_now(Run.objects.select_related("job", "pool").get(pk=run_id))


def place_now(run: Run) -> Place:
    """Where it stands at this moment, also for those who ask `place_of` next."""
    found = place(run)
    cache.set(_place_key(run.pk), found, PLACE_SECONDS)
    return found


def _place_key(run_id: int) -> str:
    return f"place-{run_id}-{translation.get_language()}"
