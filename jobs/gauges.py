"""What Prometheus is told of runs and resource pools; a look costs six small queries."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import Count
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs import lifecycle, queueing
from jobs.announcing import LOST_AFTER
from jobs.models import Pool, Run, RunState, Worker


class RunGauges(Collector):
    """Runs by state and queue, the longest wait, devices by pool."""

    def collect(self) -> Iterator[Metric]:
        counted = Run.objects.order_by().values("state").annotate(count=Count("pk"))
        by_state = {item["state"]: item["count"] for item in counted}
        runs = GaugeMetricFamily("jingtiao_runs", "Runs by state.", labels=["state"])
        for state in RunState.values:
            runs.add_metric([state], by_state.get(state, 0))
        yield runs
        yield from _queues()
        yield from _devices()
        yield _slots()


def _queues() -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "jingtiao_queue_length", "Runs that wait, by queue.", labels=["queue", "kind"]
    )
    longest = GaugeMetricFamily(
        "jingtiao_queue_wait_seconds",
        "How long the run that waits longest has waited, by queue.",
        labels=["queue", "kind"],
    )
    found = queueing.waiting()
    for queue in queueing.queues():
        for idle, kind in ((False, "normal"), (True, "idle")):
            count, since = found.get((queue, idle), (0, None))
            waiting.add_metric([queue, kind], count)
            longest.add_metric([queue, kind], (timezone.now() - since).total_seconds() if since else 0)
    yield waiting
    yield longest


def _slots() -> Metric:
    """Of the workers that give signs of life (jobs/announcing.py)."""
    slots = GaugeMetricFamily(
        "jingtiao_worker_slots", "Runs that a worker trains at the same time.", labels=["worker", "queue"]
    )
    for worker in Worker.objects.filter(heartbeat_at__gte=timezone.now() - LOST_AFTER):
        for queue in worker.queues:
            slots.add_metric([worker.name, queue], worker.slots)
    return slots


def _devices() -> Iterator[Metric]:
    devices = GaugeMetricFamily("jingtiao_pool_devices", "Devices of a resource pool.", labels=["pool", "is"])
    pools = list(Pool.objects.all())
    busy = queueing.busy_by_pool(pools)
    for pool in pools:
        devices.add_metric([pool.name, "held"], busy[pool.pk])
        devices.add_metric([pool.name, "all"], pool.slots)
    yield devices
    lost = lifecycle.abandoned(None).count()
    yield GaugeMetricFamily(
        "jingtiao_runs_without_worker", "Running runs whose worker gives no sign of life.", value=lost
    )
