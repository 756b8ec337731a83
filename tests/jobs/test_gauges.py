"""The figures of runs and pools that Prometheus reads."""

from datetime import timedelta

import pytest
from django.utils import timezone
from prometheus_client import CollectorRegistry

from jobs.gauges import RunGauges
from jobs.models import Pool, RunState, Worker

pytestmark = pytest.mark.django_db


@pytest.fixture
def figure():
    """Returns a function that asks the collector for one figure."""
    registry = CollectorRegistry()
    registry.register(RunGauges())
    return lambda name, **labels: registry.get_sample_value(name, labels)


def test_waiting_runs_by_queue_and_kind(figure, make_run) -> None:
    pool = Pool.objects.create(name="A100", queue="a100", slots=4)
    make_run(pool=pool)
    make_run(pool=pool, idle=True)
    make_run(state=RunState.DONE, pool=pool)
    assert figure("jingtiao_runs", state="Waiting") == 2
    assert figure("jingtiao_runs", state="Failed") == 0
    assert figure("jingtiao_queue_length", queue="a100", kind="normal") == 1
    assert figure("jingtiao_queue_length", queue="a100", kind="idle") == 1
    assert 0 <= figure("jingtiao_queue_wait_seconds", queue="a100", kind="normal") < 60


def test_devices_that_runs_hold(figure, make_run) -> None:
    pool = Pool.objects.create(name="A100", queue="a100", slots=4)
    make_run(state=RunState.RUNNING, pool=pool, devices=2)
    assert figure("jingtiao_pool_devices", **{"pool": "A100", "is": "held"}) == 2
    assert figure("jingtiao_pool_devices", **{"pool": "A100", "is": "all"}) == 4


def test_a_run_whose_worker_is_silent(figure, make_run, settings) -> None:
    late = timezone.now() - timedelta(seconds=2 * settings.LEASE_SECONDS)
    make_run(state=RunState.RUNNING, heartbeat_at=late)
    make_run(state=RunState.RUNNING, heartbeat_at=timezone.now())
    assert figure("jingtiao_runs_without_worker") == 1


def test_slots_of_workers_that_live(figure) -> None:
    now = timezone.now()
    for name, seen in (("alive", now), ("lost", now - timedelta(minutes=5))):
        Worker.objects.create(
            name=name, process="p", host="h", queues=["a100"], slots=4, started_at=now, heartbeat_at=seen
        )
    assert figure("jingtiao_worker_slots", worker="alive", queue="a100") == 4
    assert figure("jingtiao_worker_slots", worker="lost", queue="a100") is None
