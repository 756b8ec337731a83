"""What the page of resources shows: pools with what is held and waited for, and the machines behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils import timezone

from console.models import Workspace
from jobs import queueing
from jobs.announcing import LOST_AFTER
from jobs.models import Pool, Run, RunState, Worker
from jobs.training.trainers import REQUIRED, scale_of


@dataclass(frozen=True)
class PoolLoad:
    """A pool: devices held of all, runs that wait (normal, idle), workers that serve it now."""

    pool: Pool
    held: int
    waiting: int
    waiting_idle: int
    workers: int

    @property
    def free(self) -> int:
        return max(0, self.pool.slots - self.held)


@dataclass(frozen=True)
class WorkerLoad:
    """A worker and the runs that it follows: those that the reader may open, and how many others."""

    worker: Worker
    is_lost: bool
    runs: list[Run]
    others: int


def workers(visible: Sequence[Workspace]) -> list[WorkerLoad]:
    """Every worker that announced itself, those in touch first."""
    seen = {workspace.pk for workspace in visible}
    running = Run.objects.filter(state=RunState.RUNNING).select_related("job").order_by("claimed_at")
    by_process: dict[str, list[Run]] = {}
    for run in running:
        by_process.setdefault(run.follower, []).append(run)
    lost_since = timezone.now() - LOST_AFTER
    found = []
    for worker in Worker.objects.all():
        followed = by_process.get(worker.process, [])
        own = [run for run in followed if run.job.workspace_id in seen]
        is_lost = worker.heartbeat_at < lost_since
        found.append(WorkerLoad(worker, is_lost, own, len(followed) - len(own)))
    return sorted(found, key=lambda item: item.is_lost)


def missing_package(method: str) -> str:
    """The package that a method needs and that no training machine in touch has; empty where one has it, none is
    needed, or no machine is in touch that could have said so.
    """
    package = REQUIRED.get(scale_of(method), "")
    if not package:
        return ""
    in_touch = Worker.objects.filter(heartbeat_at__gte=timezone.now() - LOST_AFTER, versions__has_key="torch")
    found = in_touch.values_list("versions", flat=True)
    return package if found and not any(package in versions for versions in found) else ""


def pools(announced: Sequence[WorkerLoad]) -> list[PoolLoad]:
    """Every enabled pool, in the operator's order."""
    offered = list(Pool.objects.filter(enabled=True))
    held = queueing.busy_by_pool(offered)
    waiting = queueing.waiting()
    loads = []
    for pool in offered:
        normal, idle = (waiting.get((pool.queue, is_idle), (0, None))[0] for is_idle in (False, True))
        serving = sum(pool.queue in item.worker.queues and not item.is_lost for item in announced)
        loads.append(PoolLoad(pool, held[pool.pk], normal, idle, serving))
    return loads
