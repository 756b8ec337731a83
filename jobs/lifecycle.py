"""The state of a run. Nothing else in the product changes it.

```
            ┌─ released (worker shut down, trainer killed, preempted) ┐
            ▼                                                         │
        Waiting ──claimed──► Running ──► Done │ Failed │ Stopped ◄────┤
            └────────────── stopped before it began ──► Stopped       │
```
A run that is paused is released with its progress, and waits without being claimed until it is resumed. So is one
that the machine has no room for on its disk.

The database decides: a worker may carry out a run only after `claim_next` gave it a lease, and writes only
while that lease is the newest. A Celery message merely wakes a worker up, so a lost or doubled one changes
nothing. Which waiting run comes next, jobs/queueing.py decides.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from console.afterwards import after_commit
from console.beating import beating
from console.models import User
from jobs import limits, notifying, queueing
from jobs.models import ACTIVE_STATES, Publication, Run, RunState, TimelineEntry

TRANSITIONS: dict[str, frozenset[str]] = {
    RunState.WAITING: frozenset({RunState.RUNNING, RunState.STOPPED}),
    RunState.RUNNING: frozenset({RunState.WAITING, RunState.DONE, RunState.FAILED, RunState.STOPPED}),
    RunState.DONE: frozenset(),
    RunState.FAILED: frozenset(),
    RunState.STOPPED: frozenset(),
}


class IllegalTransition(Exception):
    """The run is in a state from which the wanted one cannot be reached."""


class LeaseLost(Exception):
    """Another worker has taken the run over; whoever gets this must not touch it any more."""


def note(
    run: Run, kind: str, at: datetime | None = None, actor: User | None = None, **data: Any
) -> TimelineEntry:
    """Adds an entry to the run's timeline (UTC, now if no time is given)."""
    return TimelineEntry.objects.create(run=run, kind=kind, at=at or timezone.now(), actor=actor, data=data)


def wake_worker(run: Run) -> None:
    """Once the current transaction is committed: sends a wake-up to the run's queue, and asks idle runs to
    make room for it."""
    from jobs.tasks import run_training

    # The broker may be away for a moment; `dispatch` (beat) does both for every waiting run anyway.
    after_commit(run_training.apply_async, queue=queueing.queue_of(run))
    if run.pool_id and not run.idle:
        after_commit(queueing.make_room, run.pool_id)


def _move(run: Run, state: RunState) -> None:
    """Sets the state of a run that the caller has locked; raises IllegalTransition."""
    if state not in TRANSITIONS[run.state]:
        raise IllegalTransition(f"{run.uid}: {run.state} → {state}")
    run.state = state
    run.preempt_requested_at = None
    if run.claimed_at is not None and state != RunState.RUNNING:
        now = _database_now()
        run.held_seconds += max(0.0, (now - run.claimed_at).total_seconds())
        limits.charge(run.job.workspace_id, run.devices, run.claimed_at, now)
        run.claimed_at = None
    if state != RunState.RUNNING:
        run.held_devices = []
    if state in (RunState.DONE, RunState.FAILED, RunState.STOPPED):
        run.finished_at = timezone.now()
        run.eta_seconds = None
        run.follower = ""
        run.heartbeat_at = None
        run.paused_at = None
        if state != RunState.DONE and run.publication == Publication.PENDING:
            # Seed, section 发布模型: 若模型训练失败，则不自动发布模型.
            run.publication = Publication.SKIPPED
            run.publication_note = {"code": "run_failed" if state == RunState.FAILED else "run_stopped"}


# --- Claiming ------------------------------------------------------------------------------------------------


def follower_name() -> str:
    """Names this process so that its death can be seen from the same machine: host, pid, start."""
    return f"{socket.gethostname()}|{os.getpid()}|{_start_of(os.getpid())}"


def _start_of(pid: int) -> str:
    """When a process was started, in a form that stays the same when the clock is set: in ticks since the machine's
    start where there is /proc. Raises psutil.NoSuchProcess."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            raise psutil.NoSuchProcess(pid) from None
        return str(psutil.Process(pid).create_time())
    # Field 22 of proc(5); the second one, in brackets, may hold anything.
    return "t" + stat.rpartition(")")[2].split()[19]


def _database_now() -> datetime:
    """The database's time: leases are compared with it alone, for clocks of machines differ and jump."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def is_here(follower: str) -> bool:
    """Whether the named follower runs or ran on this machine."""
    return follower.partition("|")[0] == socket.gethostname()


def is_dead(follower: str) -> bool:
    """True if the named follower ran on this machine and is gone; False for one that lives or is elsewhere."""
    _host, _separator, rest = follower.partition("|")
    pid, _separator, started = rest.partition("|")
    if not is_here(follower) or not pid:
        return False
    try:
        return _start_of(int(pid)) != started
    except psutil.NoSuchProcess:
        return True


def abandoned(served: Collection[str] | None) -> QuerySet[Run]:
    """Running runs of these queues whose follower has not reported for LEASE_SECONDS."""
    expired = Now() - timedelta(seconds=settings.LEASE_SECONDS)
    return Run.objects.filter(queueing.on_queues(served), state=RunState.RUNNING, heartbeat_at__lt=expired)


def claim_next(follower: str, served: Collection[str] | None = None, gpus: Sequence[str] = ()) -> Run | None:
    """Takes a run that nobody carries out and gives it a new lease; None if there is none.

    `served` are the queues of the worker (None: all), `gpus` those of its machine: the run gets as many of them as it
    asks for, none of which another run holds. First come runs that lost their follower, for they hold
    devices; one whose follower died on this machine is taken at once, without waiting for its lease to run
    out. Then comes the waiting run whose turn it is.
    """
    with transaction.atomic():
        now = _database_now()
        free = _free_here(gpus)
        room = queueing.Room(len(gpus), len(free)) if gpus else None
        lost = abandoned(served).select_for_update(skip_locked=True, of=("self",))
        candidates = lost.order_by("created_at", "pk")
        # Where every machine will do one row is enough to lock.
        run = next(
            (item for item in (candidates if gpus else candidates[:1]) if _can_hold(item, gpus, free)), None
        )
        if run is None:
            running = Run.objects.filter(queueing.on_queues(served), state=RunState.RUNNING)
            others = running.exclude(follower=follower).order_by("created_at")
            orphans = others.select_for_update(skip_locked=True, of=("self",))
            dead = (orphan for orphan in orphans if is_dead(orphan.follower))
            run = next((orphan for orphan in dead if _can_hold(orphan, gpus, free)), None)
        run = run or queueing.take_next(served, room)
        if run is None:
            return None
        taken_over = run.state == RunState.RUNNING
        if not taken_over:
            _move(run, RunState.RUNNING)
            run.claimed_at = now
        if not _holds_here(run, gpus):
            run.held_devices = free[: run.devices]
        run.lease += 1
        run.follower = follower
        run.heartbeat_at = now
        run.started_at = run.started_at or now
        run.save(
            update_fields=[
                *("state", "lease", "follower", "heartbeat_at", "started_at", "claimed_at", "held_devices"),
            ]
        )
        if taken_over:
            note(run, "taken_over", host=socket.gethostname())
        return run


def _free_here(gpus: Sequence[str]) -> list[str]:
    """Those of this machine's GPUs that no run holds; until the end of the transaction no other worker of the machine
    gives any away."""
    if not gpus:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"gpus of {socket.gethostname()}"])
    here = Run.objects.filter(state=RunState.RUNNING, follower__startswith=f"{socket.gethostname()}|")
    held = {name for names in here.values_list("held_devices", flat=True) for name in names}
    return [name for name in gpus if name not in held]


def _holds_here(run: Run, gpus: Sequence[str]) -> bool:
    """Whether the run, which a follower of this machine has left behind, has its devices already."""
    return is_here(run.follower) and bool(run.held_devices) and set(run.held_devices) <= set(gpus)


def _can_hold(run: Run, gpus: Sequence[str], free: Sequence[str]) -> bool:
    """Whether this machine has devices for a run that lost its follower."""
    return not gpus or _holds_here(run, gpus) or run.devices <= len(free)


def needing_a_worker(queue: str = queueing.DEFAULT_QUEUE) -> int:
    """Runs that a free worker of the queue, on any machine, could take now."""
    running = Run.objects.filter(queueing.on_queues({queue}), state=RunState.RUNNING)
    dead = sum(is_dead(follower) for follower in running.values_list("follower", flat=True))
    return queueing.startable_count(queue) + abandoned({queue}).count() + dead


@contextmanager
def leased(run: Run) -> Iterator[Run]:
    """Locks the run's row for one transaction; raises LeaseLost if another worker holds the run by now."""
    with transaction.atomic():
        current = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        if current.lease != run.lease or current.state != RunState.RUNNING:
            raise LeaseLost(run.uid)
        yield current


@contextmanager
def heartbeat(run: Run) -> Iterator[threading.Event]:
    """Reports every few seconds that the run is being carried out; the event is set when the lease is lost.

    A database that is away for a moment is no loss: it is told at the next turn.
    """
    lost = threading.Event()

    def report() -> None:
        held = Run.objects.filter(pk=run.pk, lease=run.lease, state=RunState.RUNNING)
        if not held.update(heartbeat_at=Now()):
            lost.set()

    with beating(f"heartbeat-{run.uid}", settings.LEASE_SECONDS / 5, report):
        yield lost


# --- Ending --------------------------------------------------------------------------------------------------


def finish(run: Run, state: RunState, failure: dict[str, Any] | None = None, **data: Any) -> None:
    """Ends a leased run as Done, Failed or Stopped; raises LeaseLost if it is not ours any more.

    `failure` is {"code", "params", "message"} of a failed run; `data` goes to the timeline.
    """
    with leased(run) as current:
        _move(current, state)
        current.failure = failure
        current.save()
        actor = current.stop_requested_by if state == RunState.STOPPED else None
        note(current, state.lower(), actor=actor, **(failure or {}), **data)
        notifying.run_ended(current)
        limits.watch([current.job.workspace_id])
    run.refresh_from_db()


def release(run: Run, kind: str, **data: Any) -> None:
    """Puts a leased run back into the queue, its progress kept; `kind` says why on the timeline."""
    with leased(run) as current:
        _back_to_the_queue(current)
        current.save()
        note(current, kind, **data)
        if kind == "preempted":
            notifying.run_preempted(current)
        limits.watch([current.job.workspace_id])


def rest(run: Run, reason: dict[str, Any]) -> None:
    """Puts a leased run back into the queue, its progress kept, where it rests until somebody resumes it: what kept it
    from going on (`reason`, as in `finish`) is for people to mend, and no fault of the run."""
    with leased(run) as current:
        _back_to_the_queue(current)
        current.paused_at = timezone.now()
        current.failure = reason
        current.save()
        note(current, "rests", **reason)
        notifying.run_rests(current)
        limits.watch([current.job.workspace_id])


def _back_to_the_queue(run: Run) -> None:
    _move(run, RunState.WAITING)
    run.follower = ""
    run.heartbeat_at = None
    run.phase = ""
    run.eta_seconds = None


def request_stop(run: Run, user: User) -> bool:
    """Stops a waiting run at once and asks a running one to save and end.

    Returns False if the run was already over or being stopped.
    """
    with transaction.atomic():
        current = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        if current.state not in ACTIVE_STATES or current.stop_requested_at is not None:
            return False
        current.stop_requested_at = timezone.now()
        current.stop_requested_by = user
        note(current, "stop_requested", actor=user)
        if current.state == RunState.WAITING:
            _move(current, RunState.STOPPED)
            note(current, "stopped", actor=user)
        current.save()
    return True


# --- Resting -------------------------------------------------------------------------------------------------


def request_pause(run: Run, user: User) -> bool:
    """Keeps a waiting run from starting, and asks a running one to save and to wait until it is resumed.

    Returns False if the run is over, being stopped or paused already.
    """
    with transaction.atomic():
        current = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        if current.state not in ACTIVE_STATES or current.stop_requested_at or current.paused_at:
            return False
        current.paused_at = timezone.now()
        current.save(update_fields=["paused_at"])
        note(
            current, "pause_requested" if current.state == RunState.RUNNING else "paused_waiting", actor=user
        )
    return True


def resume(run: Run, user: User) -> bool:
    """Lets a paused run go on from where it was. Returns False if it is not paused."""
    with transaction.atomic():
        current = Run.objects.select_for_update(of=("self",)).get(pk=run.pk)
        if current.state not in ACTIVE_STATES or current.paused_at is None:
            return False
        current.paused_at = current.failure = None
        current.save(update_fields=["paused_at", "failure"])
        note(current, "unpaused", actor=user)
        wake_worker(current)
    return True
