"""Which waiting run starts next, where, and why another one has to wait.

A pool is the machines behind one Celery queue. A run holds as many of its devices as it asked for, from the
claim until it ends or is released, and all runs together never more than the pool has slots. Normal runs start
in the order of their submission, and a large one is not overtaken by small ones that would fit sooner. Idle
runs (seed, 闲时训练) start only while no normal run waits, and make room for one that does.

A run without a pool belongs to the queue `training`, and to the pool of that queue if there is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Count, Min, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from jobs.models import Pool, Run, RunState

DEFAULT_QUEUE = "training"
# Normal before idle, then by submission.
ORDER = ("idle", "created_at", "pk")


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
        Run.objects.filter(state=RunState.WAITING)
        .order_by()
        .values("idle", queue=Coalesce("pool__queue", Value(DEFAULT_QUEUE)))
        .annotate(count=Count("pk"), since=Min("created_at"))
    )
    return {(item["queue"], item["idle"]): (item["count"], item["since"]) for item in counted}


def startable(pool: Pool) -> list[Run]:
    """The waiting runs that the free devices suffice for, in the order in which they start.

    It ends at the first that does not fit. Runs that ask for more than the pool has are passed over: they
    would block it for ever.
    """
    free = pool.slots - busy_devices(pool)
    waiting = runs_of(pool).filter(state=RunState.WAITING, devices__lte=pool.slots).order_by(*ORDER)
    fitting = []
    for run in waiting[: max(0, free)]:
        free -= run.devices
        if free < 0:
            break
        fitting.append(run)
    return fitting


def take_next(served: Collection[str] | None) -> Run | None:
    """Locks the run that a worker on these queues is to start next; None if none may start.

    Call it in a transaction. The pools stay locked until its end, so that no two workers give the same device
    away (without keeping anybody from submitting runs).
    """
    pools = Pool.objects.select_for_update(no_key=True).order_by("pk")
    if served is not None:
        pools = pools.filter(queue__in=served)
    locked = list(pools)
    heads = [run for pool in locked for run in startable(pool)[:1]]
    if head := min(heads, key=lambda run: (run.idle, run.created_at, run.pk), default=None):
        return Run.objects.select_for_update(of=("self",)).filter(pk=head.pk, state=RunState.WAITING).first()
    if (served is None or DEFAULT_QUEUE in served) and all(pool.queue != DEFAULT_QUEUE for pool in locked):
        unpooled = Run.objects.select_for_update(skip_locked=True, of=("self",))
        return unpooled.filter(state=RunState.WAITING, pool=None).order_by(*ORDER).first()
    return None


def startable_count(queue: str) -> int:
    """How many waiting runs of a queue could start now if enough workers came."""
    pool = Pool.objects.filter(queue=queue).first()
    if pool is not None:
        return len(startable(pool))
    return Run.objects.filter(on_queues({queue}), state=RunState.WAITING).count()


# --- Making room -----------------------------------------------------------------------------------------------


def make_room(pool_id: int) -> list[Run]:
    """Asks idle runs, the newest first, to give their devices to the normal run that waits first, and returns
    those that it asked. None is asked as long as all idle runs together would not be enough.
    """
    with transaction.atomic():
        pool = Pool.objects.select_for_update(no_key=True).get(pk=pool_id)
        runs = runs_of(pool)
        waiting = runs.filter(state=RunState.WAITING, idle=False, devices__lte=pool.slots)
        head = waiting.order_by(*ORDER).first()
        if head is None:
            return []
        needed = head.devices - (pool.slots - busy_devices(pool))
        idle = runs.filter(state=RunState.RUNNING, idle=True).order_by("-claimed_at", "-pk")
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
    waiting = Run.objects.filter(state=RunState.WAITING, idle=False)
    wanted = set(waiting.order_by().values_list("pool", flat=True).distinct())
    if None in wanted:
        wanted |= set(Pool.objects.filter(queue=DEFAULT_QUEUE).values_list("pk", flat=True))
    for pool_id in wanted - {None}:
        make_room(pool_id)


# --- For the waiting run's page --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a waiting run stands (1 is next) and what the pool has; `pool` is None without any pool."""

    number: int
    pool: Pool | None
    devices: int
    busy: int
    is_idle: bool
    makes_room: bool

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


def place(run: Run) -> Place:
    """Where a waiting run stands in its queue."""
    pool = pool_of(run)
    same_queue = Run.objects.filter(on_queues({pool.queue if pool else DEFAULT_QUEUE}))
    before = Q(created_at__lt=run.created_at) | Q(created_at=run.created_at, pk__lt=run.pk)
    ahead = Q(idle=False) | before if run.idle else Q(idle=False) & before
    waiting = same_queue.filter(ahead, state=RunState.WAITING).exclude(pk=run.pk)
    running = list(same_queue.filter(state=RunState.RUNNING).values_list("devices", "preempt_requested_at"))
    return Place(
        number=waiting.count() + 1,
        pool=pool,
        devices=run.devices,
        busy=sum(devices for devices, _asked in running),
        is_idle=run.idle,
        makes_room=any(asked for _devices, asked in running),
    )
