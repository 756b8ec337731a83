"""Which waiting run starts next, where, and why another one has to wait.

A pool is the machines behind one Celery queue. A run holds as many of its devices as it asked for, from the
claim until it ends or is released, and all runs together never more than the pool has slots. The order is that
of jobs/fairness.py, and nobody starts before the run whose turn it is, not even one that would fit sooner. Idle
runs (seed, 闲时训练) start only while no normal run waits that may start, and make room for one that does. Runs
of a workspace that is at one of its limits (jobs/limits.py) are passed over.

A run without a pool belongs to the queue `training`, and to the pool of that queue if there is one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile

from django.db import transaction
from django.db.models import Count, F, Min, Q, QuerySet, Sum, Value, Window
from django.db.models.functions import Coalesce, RowNumber
from django.utils import timezone

from jobs import limits
from jobs.fairness import Waiter, rank, turns
from jobs.forecast import seconds_until_start
from jobs.models import Pool, Run, RunState

DEFAULT_QUEUE = "training"
# Without a pool: how many runs a worker looks at that others are taking just then.
UNPOOLED_TRIED = 100
# What a forecast reads of a run, and of how many that wait.
TIMED = (
    *("job__workspace", "devices", "idle", "preempt_requested_at"),
    *("eta_seconds", "estimate", "held_seconds", "claimed_at"),
)
FORECAST_RUNS = 500


def queue_of(run: Run) -> str:
    """The Celery queue whose workers carry the run out."""
    return run.pool.queue if run.pool else DEFAULT_QUEUE


def queues() -> list[str]:
    """Every queue on which runs may wait."""
    return sorted({DEFAULT_QUEUE, *Pool.objects.values_list("queue", flat=True)})


def on_queues(served: Collection[str] | None) -> Q:
    """Runs of the given queues; of all queues for None."""
    if served is None:
        return Q()
    condition = Q(pool__queue__in=served)
    return condition | Q(pool=None) if DEFAULT_QUEUE in served else condition


def pool_of(run: Run) -> Pool | None:
    """The pool whose devices the run needs."""
    return run.pool or Pool.objects.filter(queue=DEFAULT_QUEUE).first()


def runs_of(pool: Pool) -> QuerySet[Run]:
    """The runs that hold or want devices of the pool."""
    return Run.objects.filter(on_queues({pool.queue}))


def in_line(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Those of `runs` that wait for their turn; one that is paused does not."""
    return runs.filter(state=RunState.WAITING, paused_at=None)


def busy_devices(pool: Pool) -> int:
    """Devices that running runs hold, whether their worker is alive or not."""
    return runs_of(pool).filter(state=RunState.RUNNING).aggregate(held=Sum("devices"))["held"] or 0


def busy_by_pool(pools: Iterable[Pool]) -> dict[int, int]:
    """`busy_devices` of several pools (by their pk) with one query."""
    held: dict[int | None, int] = dict(
        Run.objects.filter(state=RunState.RUNNING)
        .order_by()
        .values("pool")
        .annotate(held=Sum("devices"))
        .values_list("pool", "held")
    )
    return {
        pool.pk: held.get(pool.pk, 0) + (held.get(None, 0) if pool.queue == DEFAULT_QUEUE else 0)
        for pool in pools
    }


def waiting() -> dict[tuple[str, bool], tuple[int, datetime]]:
    """By queue and whether they are idle runs: how many runs wait, and since when the one that waits longest."""
    counted = (
        in_line(Run.objects.all())
        .order_by()
        .values("idle", queue=Coalesce("pool__queue", Value(DEFAULT_QUEUE)))
        .annotate(count=Count("pk"), since=Min("created_at"))
    )
    return {(item["queue"], item["idle"]): (item["count"], item["since"]) for item in counted}


def _waiters(runs: QuerySet[Run], most: int | None = None) -> list[Waiter]:
    """The waiting ones of `runs`; of each workspace and priority the first `most` (more cannot start)."""
    waiting = in_line(runs).order_by()
    if most is not None:
        line = Window(
            RowNumber(),
            partition_by=[F("job__workspace"), F("idle"), F("priority")],
            order_by=[F("created_at"), F("pk")],
        )
        waiting = waiting.annotate(number=line).filter(number__lte=most)
    columns = ("pk", "job__workspace", "idle", "priority", "created_at", "devices")
    return [Waiter(*values) for values in waiting.values_list(*columns)]


def _held(runs: QuerySet[Run]) -> dict[int, int]:
    """Devices that the running ones of `runs` hold, by workspace."""
    running = runs.filter(state=RunState.RUNNING).order_by().values("job__workspace")
    return dict(running.annotate(held=Sum("devices")).values_list("job__workspace", "held"))


def _turns(waiters: list[Waiter], held: dict[int, int], lock: bool = False) -> Iterator[Waiter]:
    """Those that may start, in their order; runs of workspaces that are at a limit are passed over."""
    standings = limits.standings({waiter.workspace for waiter in waiters}, lock)
    return turns(waiters, held, {key: standing.room for key, standing in standings.items()})


def startable(pool: Pool, lock: bool = False) -> list[Waiter]:
    """The waiting runs that the free devices suffice for, in the order in which they start.

    It ends at the first that does not fit. Runs that ask for more than the pool has are passed over: they
    would block it for ever. For `lock` see limits.standings.
    """
    runs = runs_of(pool)
    held = _held(runs)
    free = pool.slots - sum(held.values())
    if free <= 0:
        return []
    fitting = []
    for waiter in _turns(_waiters(runs.filter(devices__lte=pool.slots), free), held, lock):
        free -= waiter.devices
        if free < 0:
            break
        fitting.append(waiter)
    return fitting


@dataclass(frozen=True)
class Room:
    """How many GPUs a worker's machine has, and how many of them no run holds."""

    devices: int
    free: int


def take_next(served: Collection[str] | None, room: Room | None = None) -> Run | None:
    """Locks the run that a worker on these queues is to start next; None if none may start.

    On a machine with GPUs (`room`) runs that ask for more than it has are left to others, and one whose turn it is
    waits until so many are free there: nobody after it takes them meanwhile.

    Call it in a transaction. The pools stay locked until its end, so that no two workers give the same device
    away (without keeping anybody from submitting runs); so do the limits of the workspaces, after the pools.
    """
    pools = Pool.objects.select_for_update(no_key=True).order_by("pk")
    if served is not None:
        pools = pools.filter(queue__in=served)
    locked = list(pools)
    heads = [
        waiter
        for pool in locked
        for waiter in islice((item for item in startable(pool, lock=True) if _may_have(item, room)), 1)
    ]
    if head := min(heads, key=lambda item: (*rank(item), item.created_at, item.pk), default=None):
        if room and head.devices > room.free:
            return None
        return in_line(Run.objects.select_for_update(of=("self",))).filter(pk=head.pk).first()
    if (served is None or DEFAULT_QUEUE in served) and all(pool.queue != DEFAULT_QUEUE for pool in locked):
        unpooled = Run.objects.filter(pool=None)
        free = in_line(Run.objects.select_for_update(skip_locked=True, of=("self",)))
        turns_now = _turns(_waiters(unpooled, UNPOOLED_TRIED), _held(unpooled), lock=True)
        order = takewhile(
            lambda item: not room or item.devices <= room.free,
            (item for item in turns_now if _may_have(item, room)),
        )
        found = (free.filter(pk=waiter.pk).first() for waiter in islice(order, UNPOOLED_TRIED))
        return next((run for run in found if run is not None), None)
    return None


def _may_have(waiter: Waiter, room: Room | None) -> bool:
    """Whether the machine has as many devices at all."""
    return room is None or waiter.devices <= room.devices


def startable_count(queue: str) -> int:
    """How many waiting runs of a queue could start now if enough workers came."""
    pool = Pool.objects.filter(queue=queue).first()
    if pool is not None:
        return len(startable(pool))
    runs = Run.objects.filter(on_queues({queue}))
    return sum(1 for _waiter in _turns(_waiters(runs), _held(runs)))


# --- Making room -----------------------------------------------------------------------------------------------


def make_room(pool_id: int) -> list[Run]:
    """Asks idle runs, the newest first, to give their devices to the normal run that waits first, and returns
    those that it asked. None is asked as long as all idle runs together would not be enough.
    """
    with transaction.atomic():
        pool = Pool.objects.select_for_update(no_key=True).get(pk=pool_id)
        runs = runs_of(pool)
        idle = list(runs.filter(state=RunState.RUNNING, idle=True).order_by("-claimed_at", "-pk"))
        if not idle:
            return []
        waiters = _waiters(runs.filter(idle=False, devices__lte=pool.slots), 1)
        head = next(_turns(waiters, _held(runs)), None)
        if head is None:
            return []
        needed = head.devices - (pool.slots - busy_devices(pool))
        asked = [run for run in idle if run.preempt_requested_at or run.stop_requested_at]
        needed -= sum(run.devices for run in asked)
        chosen: list[Run] = []
        for run in idle:
            if needed > 0 and run not in asked:
                chosen.append(run)
                needed -= run.devices
        if needed > 0:
            return []
        keys = [run.pk for run in chosen]
        # Under the run's lock one that has just ended is left alone.
        Run.objects.filter(pk__in=keys, state=RunState.RUNNING).update(preempt_requested_at=timezone.now())
        return chosen


def make_room_everywhere() -> None:
    """`make_room` for every pool on which a normal run waits."""
    waiting = in_line(Run.objects.filter(idle=False))
    wanted = set(waiting.order_by().values_list("pool", flat=True).distinct())
    if None in wanted:
        wanted |= set(Pool.objects.filter(queue=DEFAULT_QUEUE).values_list("pk", flat=True))
    for pool_id in wanted - {None}:
        make_room(pool_id)


# --- For the waiting run's page --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a waiting run stands (1 is next) and what the pool has; `pool` is None without any pool.

    `limit` is why its workspace may start nothing now. `starts_at` is None where nobody knows.
    """

    number: int
    pool: Pool | None
    devices: int
    busy: int
    is_idle: bool
    makes_room: bool
    limit: str
    starts_at: datetime | None

    @property
    def ahead(self) -> int:
        return self.number - 1

    @property
    def asks_too_much(self) -> bool:
        """The operator has taken devices away since it was submitted: it can never start."""
        return self.pool is not None and self.devices > self.pool.slots

    @property
    def is_blocked(self) -> bool:
        """Whether the devices that it needs are held by others."""
        return self.pool is not None and self.devices > self.pool.slots - self.busy

    @property
    def is_forecast(self) -> bool:
        """Whether there is something to be said about its start beyond that its turn has come."""
        waits = self.pool is not None and (self.ahead > 0 or self.is_blocked)
        return bool(self.limit) or (waits and not self.asks_too_much)


def place(run: Run) -> Place:
    """Where a waiting run stands in its queue, and when it will start."""
    pool = pool_of(run)
    runs = Run.objects.filter(on_queues({pool.queue if pool else DEFAULT_QUEUE}))
    waiters = _waiters(runs)
    running = list(runs.filter(state=RunState.RUNNING).order_by().only(*TIMED).select_related("job"))
    held: dict[int, int] = defaultdict(int)
    for other in running:
        held[other.job.workspace_id] += other.devices
    standings = limits.standings({waiter.workspace for waiter in waiters})
    own = standings.get(run.job.workspace_id)
    limit = own.reason if own else ""
    # Its own limit is told apart from its place.
    room = {key: standing.room for key, standing in standings.items() if key != run.job.workspace_id}
    order = turns(waiters, held, room)
    ahead = list(takewhile(lambda waiter: waiter.pk != run.pk, order))
    own_ahead = sum(waiter.workspace == run.job.workspace_id for waiter in ahead)
    # When its workspace has room again nobody can tell: runs of other pools count as well.
    is_limited = own is not None and own.room is not None and own_ahead >= own.room
    return Place(
        number=len(ahead) + 1,
        pool=pool,
        devices=run.devices,
        busy=sum(held.values()),
        is_idle=run.idle,
        makes_room=any(other.preempt_requested_at for other in running),
        limit=limit,
        starts_at=None if pool is None or is_limited else _starts_at(run, pool, running, ahead),
    )


def _starts_at(run: Run, pool: Pool, running: list[Run], ahead: list[Waiter]) -> datetime | None:
    """When its devices will be free, by what is known of the runs that hold them and that come before it."""
    now = timezone.now()
    # A normal run does not wait for idle ones: they make room.
    busy = [
        (other.devices, 0.0 if other.idle and not run.idle else seconds_left(other, now)) for other in running
    ]
    nearest = [waiter.pk for waiter in ahead[:FORECAST_RUNS]]
    times = {other.pk: seconds_left(other, now) for other in Run.objects.filter(pk__in=nearest).only(*TIMED)}
    before = [(waiter.devices, times.get(waiter.pk)) for waiter in ahead]
    seconds = seconds_until_start(pool.slots, busy, before, run.devices)
    return None if seconds is None else now + timedelta(seconds=seconds)


def seconds_left(run: Run, now: datetime) -> float | None:
    """How long a run still holds devices once it has them: what its trainer says, else what is left of the
    estimate; None where it has none or has taken longer already."""
    if run.eta_seconds is not None:
        return run.eta_seconds
    hours = run.estimate.get("hours")
    if hours is None:
        return None
    held = run.held_seconds + ((now - run.claimed_at).total_seconds() if run.claimed_at else 0)
    left = float(hours) * limits.HOUR - held
    return left if left > 0 else None
