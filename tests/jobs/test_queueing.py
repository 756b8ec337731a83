"""Pools: never more devices than there are, normal runs before idle ones, and a place for every waiting run."""

import threading

import pytest
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from console.celery import app
from jobs import lifecycle, queueing, tasks
from jobs.models import Pool, RunState

ME = lifecycle.follower_name()


@pytest.fixture
def pool(db) -> Pool:
    return Pool.objects.create(name="A100", queue="a100", slots=1, device_counts=[1, 2, 4])


def claim(*queues: str):
    return lifecycle.claim_next(ME, queues or None)


def test_a_worker_takes_runs_of_its_queues_only(make_run, pool):
    on_pool, without = make_run(pool=pool), make_run()
    assert claim("elsewhere") is None
    assert claim("training").pk == without.pk
    assert claim("training") is None
    assert claim("a100", "training").pk == on_pool.pk


def test_a_pool_of_one_slot_runs_one_at_a_time(make_run, pool):
    first, second = make_run(pool=pool), make_run(pool=pool)
    run = claim()
    assert (run.pk, claim()) == (first.pk, None)
    lifecycle.finish(run, RunState.DONE)
    assert claim().pk == second.pk


@pytest.mark.parametrize(("slots", "started"), [(1, 0), (2, 1), (3, 1), (4, 2)])
def test_devices_are_counted_and_not_runs(make_run, pool, slots, started):
    Pool.objects.update(slots=slots)
    for _number in range(3):
        make_run(pool=pool, devices=2)
    assert sum(claim() is not None for _number in range(3)) == started


def test_a_large_run_is_not_overtaken_by_small_ones(make_run, pool):
    Pool.objects.update(slots=2)
    make_run(pool=pool)
    claim()
    large, _small = make_run(pool=pool, devices=2), make_run(pool=pool)
    assert claim() is None
    lifecycle.finish(pool.runs.get(state=RunState.RUNNING), RunState.DONE)
    assert claim().pk == large.pk


def test_a_run_that_asks_for_more_than_there_is_does_not_block_the_pool(make_run, pool):
    too_large, small = make_run(pool=pool, devices=2), make_run(pool=pool)
    assert claim().pk == small.pk
    assert queueing.place(too_large).asks_too_much


def test_runs_without_a_pool_hold_devices_of_the_default_queues_pool(make_run):
    pool = Pool.objects.create(name="here", queue="training", slots=1)
    make_run()
    make_run(pool=pool)
    assert claim() is not None
    assert claim() is None
    assert queueing.busy_by_pool([pool]) == {pool.pk: 1} == {pool.pk: queueing.busy_devices(pool)}


def test_idle_runs_start_after_all_normal_ones(make_run, pool):
    Pool.objects.update(slots=2)
    idle, normal = make_run(pool=pool, idle=True), make_run(pool=pool)
    assert [claim().pk, claim().pk] == [normal.pk, idle.pk]


def test_no_idle_run_starts_while_a_normal_one_waits(make_run, pool):
    Pool.objects.update(slots=2)
    make_run(pool=pool)
    claim()
    make_run(pool=pool, devices=2)
    make_run(pool=pool, idle=True)
    assert claim() is None


def test_the_newest_idle_run_makes_room(make_run, pool):
    Pool.objects.update(slots=2)
    older, newer = make_run(pool=pool, idle=True), make_run(pool=pool, idle=True)
    claim(), claim()
    make_run(pool=pool)
    assert [run.pk for run in queueing.make_room(pool.pk)] == [newer.pk]
    assert queueing.make_room(pool.pk) == []
    older.refresh_from_db()
    assert older.preempt_requested_at is None


def test_nobody_makes_room_in_vain(make_run, pool):
    Pool.objects.update(slots=2)
    make_run(pool=pool), make_run(pool=pool, idle=True)
    claim(), claim()
    make_run(pool=pool, devices=2)
    assert queueing.make_room(pool.pk) == []


def test_normal_runs_and_idle_ones_that_wait_make_no_room(make_run, pool):
    make_run(pool=pool)
    claim()
    make_run(pool=pool)
    assert queueing.make_room(pool.pk) == []


def test_a_preempted_run_waits_with_its_progress_and_its_time_is_kept(make_run, pool):
    make_run(pool=pool, idle=True, step=7)
    run = claim()
    make_run(pool=pool)
    queueing.make_room_everywhere()
    run.refresh_from_db()
    assert run.preempt_requested_at is not None
    run.claimed_at = timezone.now() - timezone.timedelta(seconds=90)
    run.save()
    lifecycle.release(run, "preempted", step=7)
    run.refresh_from_db()
    assert (run.state, run.step, run.preempt_requested_at, run.claimed_at) == (
        RunState.WAITING,
        7,
        None,
        None,
    )
    assert 90 <= run.held_seconds < 120


def test_a_lost_run_is_taken_over_though_its_pool_is_full(make_run, pool):
    host = ME.partition("|")[0]
    lost = make_run(
        RunState.RUNNING, pool=pool, follower=f"{host}|999999999|1.0", heartbeat_at=timezone.now()
    )
    make_run(pool=pool)
    assert lifecycle.needing_a_worker("a100") == 1
    assert claim("training") is None
    assert claim("a100").pk == lost.pk


def test_wake_ups_are_counted_by_free_devices(make_run, pool):
    for _number in range(3):
        make_run(pool=pool)
    assert queueing.queues() == ["a100", "training"]
    assert (lifecycle.needing_a_worker("a100"), lifecycle.needing_a_worker("training")) == (1, 0)


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_do_not_share_a_device(make_run, pool):
    for _number in range(8):
        make_run(pool=pool)
    start, claimed = threading.Barrier(4), []

    def work():
        start.wait()
        claimed.append(lifecycle.claim_next(ME))
        connection.close()

    threads = [threading.Thread(target=work) for _number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(run is not None for run in claimed) == 1


def test_places_count_normal_runs_before_idle_ones(make_run, pool):
    idle, first, second = make_run(pool=pool, idle=True), make_run(pool=pool), make_run(pool=pool)
    assert [queueing.place(run).number for run in (first, second, idle)] == [1, 2, 3]


def test_the_page_says_the_place_and_why_the_run_waits(make_run, pool, client_of, alice):
    for _number in range(2):
        make_run(pool=pool)
    last = make_run(pool=pool)
    claim()
    page = client_of(alice).get(reverse("jobs:run", args=[last.uid])).text
    assert "Number 2 in the queue of A100." in page
    assert "1 of 1 device is busy." in page


def test_the_place_takes_few_queries(make_run, pool, django_assert_num_queries):
    runs = [make_run(pool=pool) for _number in range(20)]
    with django_assert_num_queries(4):
        queueing.place(runs[-1])


@pytest.mark.services
def test_dispatch_wakes_workers_of_the_right_queues_and_makes_room(make_run, pool):
    make_run(pool=pool, idle=True)
    idle = claim()
    make_run()
    make_run(pool=pool)
    with app.connection_for_write() as broker:
        for queue in ("a100", "training"):
            broker.default_channel.queue_purge(queue)
        tasks.dispatch()
        idle.refresh_from_db()
        assert idle.preempt_requested_at is not None
        # The pool has no free device yet: nobody is woken up for it.
        assert broker.default_channel.client.llen("training") == 1
        assert broker.default_channel.client.llen("a100") == 0
        lifecycle.release(idle, "preempted", step=0)
        tasks.dispatch()
        assert broker.default_channel.client.llen("a100") == 1
        for queue in ("a100", "training"):
            broker.default_channel.queue_purge(queue)
