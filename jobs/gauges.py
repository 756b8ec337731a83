"""What Prometheus is told of runs and resource pools; a look costs five small queries."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs import queueing
from jobs.models import Pool, Run, RunState


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


def _queues() -> Iterator[Metric]:
    waiting = GaugeMetricFamily(
        "jingtiao_queue_length", "Runs that wait, by queue.", labels=["queue", "kind"]
    )
    longest = GaugeMetricFamily(
        "jingtiao_queue_wait_seconds",
        "How long the run that waits longest has waited, by queue.",
        labels=["queue", "kind"],
    )
    counted = (
        Run.objects.filter(state=RunState.WAITING)
        .order_by()
        .values("pool__queue", "idle")
        .annotate(count=Count("pk"), since=Min("created_at"))
    )
    found = {(item["pool__queue"] or queueing.DEFAULT_QUEUE, item["idle"]): item for item in counted}
    for queue in queueing.queues():
        for idle, kind in ((False, "normal"), (True, "idle")):
            item = found.get((queue, idle))
            waiting.add_metric([queue, kind], item["count"] if item else 0)
            seconds = (timezone.now() - item["since"]).total_seconds() if item else 0
            longest.add_metric([queue, kind], seconds)
    yield waiting
    yield longest


def _devices() -> Iterator[Metric]:
    devices = GaugeMetricFamily("jingtiao_pool_devices", "Devices of a resource pool.", labels=["pool", "is"])
    pools = list(Pool.objects.all())
    busy = queueing.busy_by_pool(pools)
    for pool in pools:
        devices.add_metric([pool.name, "held"], busy[pool.pk])
        devices.add_metric([pool.name, "all"], pool.slots)
    yield devices
    silent_since = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    lost = Run.objects.filter(state=RunState.RUNNING, heartbeat_at__lt=silent_since)
    yield GaugeMetricFamily(
        "jingtiao_runs_without_worker", "Running runs whose worker gives no sign of life.", value=lost.count()
    )
