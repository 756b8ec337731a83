"""Limits of a workspace, priorities, fair turns, and the forecast of a start."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from console.models import Membership, Role, User, Workspace
from jobs import lifecycle, limits, queueing
from jobs.fairness import Waiter, turns
from jobs.forecast import seconds_until_start
from jobs.models import Job, Limits, Pool, Priority, Run, RunState, Usage

ME = lifecycle.follower_name()
START = datetime(2026, 11, 24, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def pool(db) -> Pool:
    return Pool.objects.create(name="A100", queue="a100", slots=2, device_counts=[1, 2, 4])


@pytest.fixture
def make_elsewhere(make_run) -> Callable[..., Run]:
    """As make_run, for a job of another workspace."""
    other = Workspace.objects.create(name="Speech")
    job = Job.objects.create(workspace=other, name="voices", model_type="text2text")

    def make(**fields) -> Run:
        run = make_run(**fields)
        run.job = job
        run.save()
        return run

    return make


def claim(*queues: str):
    return lifecycle.claim_next(ME, queues or None)


def waiter(pk: int, workspace: int = 1, devices: int = 1, priority: int = 0, idle: bool = False) -> Waiter:
    return Waiter(pk, workspace, idle, priority, START + timedelta(minutes=pk), devices)


def order(*waiters: Waiter, held=None, room=None) -> list[int]:
    return [item.pk for item in turns(waiters, held or {}, room or {})]


# --- Turns -----------------------------------------------------------------------------------------------------


def test_priority_comes_before_fairness_and_idle_runs_come_last():
    high, low = waiter(4, workspace=1, priority=1), waiter(2, workspace=2, priority=-1)
    idle = waiter(1, workspace=2, priority=1, idle=True)
    assert order(idle, low, waiter(3, workspace=1), high, held={1: 9}) == [4, 3, 2, 1]


def test_workspaces_take_turns_by_the_devices_they_hold():
    many = [waiter(pk, workspace=1) for pk in range(1, 5)]
    assert order(*many, waiter(8, workspace=2), waiter(9, workspace=2)) == [1, 8, 2, 9, 3, 4]
    assert order(*many[:2], waiter(8, workspace=2), held={1: 1}) == [8, 1, 2]


def test_a_workspace_keeps_the_order_of_its_own_runs():
    assert order(waiter(1, devices=4), waiter(2), waiter(3)) == [1, 2, 3]


def test_a_workspace_without_room_is_passed_over_and_blocks_nobody():
    runs = [waiter(1), waiter(2), waiter(3, workspace=2)]
    assert order(*runs, room={1: 0}) == [3]
    assert order(*runs, room={1: 1, 2: None}) == [1, 3]


def test_many_runs_get_their_turns_quickly():
    runs = [waiter(pk, workspace=pk % 50, devices=1 + pk % 4) for pk in range(20_000)]
    random.Random(0).shuffle(runs)
    found = order(*runs)
    assert sorted(found) == list(range(20_000))
    assert len({pk % 50 for pk in found[:50]}) == 50


# --- Forecast --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slots", "running", "ahead", "devices", "expected"),
    [
        (2, [], [], 1, 0),
        (1, [(1, 60.0)], [], 1, 60),
        (1, [(1, 60.0)], [(1, 30.0)], 1, 90),
        (2, [(1, 60.0), (1, 20.0)], [(2, 30.0)], 1, 90),
        (2, [(1, None), (1, 20.0)], [], 1, 20),
        (2, [(1, None), (1, 20.0)], [], 2, None),
        (1, [(1, 20.0)], [(1, None)], 1, None),
        (1, [(1, 20.0)], [(4, 5.0)], 1, 20),
        (1, [(1, 20.0), (1, 40.0)], [], 1, 40),
        (1, [], [], 2, None),
    ],
)
def test_a_start_is_played_through_or_unknown(slots, running, ahead, devices, expected):
    assert seconds_until_start(slots, running, ahead, devices) == expected


# --- Limits at the start of runs -------------------------------------------------------------------------------


def test_no_more_runs_at_once_than_the_operator_allows(make_run, pool, workspace, make_elsewhere):
    Limits.objects.create(workspace=workspace, running=1)
    Pool.objects.update(slots=3)
    mine = [make_run(pool=pool) for _number in range(2)]
    other = make_elsewhere(pool=pool)
    assert [claim().pk, claim().pk, claim()] == [mine[0].pk, other.pk, None]
    assert queueing.startable_count("a100") == 0
    mine[0].refresh_from_db()
    lifecycle.finish(mine[0], RunState.DONE)
    assert claim().pk == mine[1].pk


def test_runs_without_a_pool_are_limited_and_fair_too(make_run, workspace, make_elsewhere):
    Limits.objects.create(workspace=workspace, running=1)
    first, _second, other = make_run(), make_run(), make_elsewhere()
    assert queueing.startable_count("training") == 2
    assert [claim().pk, claim().pk, claim()] == [first.pk, other.pk, None]


def test_no_run_starts_once_the_hours_of_the_month_are_used(make_run, pool, workspace):
    Limits.objects.create(workspace=workspace, device_hours=10)
    month = limits.month_of(timezone.now())
    used = Usage.objects.create(workspace=workspace, month=month.date(), device_seconds=10 * 3600)
    Usage.objects.create(workspace=workspace, month=(month - HOUR).date().replace(day=1), device_seconds=1e9)
    run = make_run(pool=pool)
    assert claim() is None
    Usage.objects.filter(pk=used.pk).update(device_seconds=10 * 3600 - 1)
    assert claim().pk == run.pk


def test_hours_that_are_held_now_count(make_run, pool, workspace):
    Limits.objects.create(workspace=workspace, device_hours=1)
    running = make_run(
        RunState.RUNNING, pool=pool, devices=2, claimed_at=timezone.now() - timedelta(minutes=29)
    )
    assert limits.notice(workspace) is None
    running.claimed_at -= timedelta(minutes=2)
    running.save()
    if limits.month_of(running.claimed_at) == limits.month_of(timezone.now()):
        assert "1 of 1 device hours of this workspace are used this month" in limits.notice(workspace)


def test_a_hold_is_charged_to_the_months_it_lies_in(workspace):
    end = datetime(2026, 12, 1, tzinfo=UTC)
    for _hold in range(2):
        limits.charge(workspace.pk, 4, end - HOUR, end + 2 * HOUR)
    used = {f"{item.month:%Y-%m}": item.device_seconds for item in Usage.objects.all()}
    assert used == {"2026-11": 2 * 4 * 3600, "2026-12": 2 * 8 * 3600}


def test_a_run_is_charged_when_it_gives_its_devices_back_and_deleting_it_changes_nothing(make_run, pool):
    make_run(pool=pool, devices=2)
    run = claim()
    run.claimed_at = timezone.now() - timedelta(seconds=100)
    run.save()
    lifecycle.release(run, "released", step=0)
    lifecycle.finish(claim(), RunState.DONE)
    run.delete()
    assert 200 <= sum(item.device_seconds for item in Usage.objects.all()) < 260


def test_nobody_makes_room_for_a_run_that_may_not_start(make_run, pool, workspace, make_elsewhere):
    Pool.objects.update(slots=1)
    make_elsewhere(pool=pool, idle=True)
    claim()
    make_run(pool=pool)
    limit = Limits.objects.create(workspace=workspace, running=0)
    assert queueing.make_room(pool.pk) == []
    limit.delete()
    assert len(queueing.make_room(pool.pk)) == 1


@pytest.mark.django_db(transaction=True)
def test_workers_of_two_pools_at_once_do_not_exceed_the_limit(make_run, workspace):
    Limits.objects.create(workspace=workspace, running=1)
    names = ("one", "two", "three")
    for name in names:
        make_run(pool=Pool.objects.create(name=name, queue=name))
    start, claimed = threading.Barrier(3), []

    def work(name: str) -> None:
        start.wait()
        claimed.append(claim(name))
        connection.close()

    threads = [threading.Thread(target=work, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(run is not None for run in claimed) == 1


# --- What the page says ----------------------------------------------------------------------------------------


def page_of(client, run) -> str:
    return client.get(reverse("jobs:run", args=[run.uid])).text


def test_the_page_tells_the_limit(make_run, pool, workspace, client_of, alice):
    Limits.objects.create(workspace=workspace, running=1)
    make_run(pool=pool)
    claim()
    page = page_of(client_of(alice), make_run(pool=pool))
    assert "This workspace already trains 1 of the 1 run that it may train at once." in page
    assert "Estimated start: unknown." in page


def test_the_page_tells_the_estimated_start(make_run, pool, client_of, alice):
    make_run(RunState.RUNNING, pool=pool, devices=2, eta_seconds=3600 * 30)
    make_run(pool=pool, devices=2, estimate={"hours": "2"})
    run = make_run(pool=pool)
    place = queueing.place(run)
    assert timedelta(hours=31.9) < place.starts_at - timezone.now() < timedelta(hours=32.1)
    shown = f"{timezone.localtime(place.starts_at, ZoneInfo(settings.DISPLAY_TIME_ZONE)):%Y-%m-%d}"
    assert f"Estimated start: about {shown}" in page_of(client_of(alice), run)


def test_what_is_left_of_the_estimate_counts_where_the_trainer_has_said_nothing(make_run):
    now = timezone.now()
    run = make_run(RunState.RUNNING, estimate={"hours": "2"}, held_seconds=1800, claimed_at=now - HOUR)
    assert queueing.seconds_left(run, now) == pytest.approx(1800)
    assert queueing.seconds_left(run, now + HOUR) is None
    assert queueing.seconds_left(make_run(), now) is None


def test_idle_runs_are_not_waited_for_by_a_normal_one(make_run, pool):
    make_run(RunState.RUNNING, pool=pool, devices=2, idle=True)
    assert queueing.place(make_run(pool=pool)).starts_at is not None
    assert queueing.place(make_run(pool=pool, idle=True)).starts_at is None


# --- Priorities ------------------------------------------------------------------------------------------------


def member(workspace: Workspace) -> User:
    user = User.objects.create_user("dora", password="password", language="en")
    Membership.objects.create(user=user, workspace=workspace, role=Role.MEMBER)
    return user


def post(client, run, priority) -> int:
    return client.post(reverse("jobs:priority", args=[run.uid]), {"priority": priority}).status_code


def test_an_owner_lets_a_run_go_first(make_run, pool, client_of, alice):
    _first, urgent = make_run(pool=pool), make_run(pool=pool)
    client = client_of(alice)
    assert 'name="priority"' in page_of(client, urgent)
    assert post(client, urgent, "1") == 302
    assert claim().pk == urgent.pk
    assert "Given high priority" in page_of(client, urgent)
    assert 'name="priority"' not in page_of(client, urgent)


def test_a_member_may_lower_a_priority_and_not_raise_it(make_run, workspace, client_of):
    run, client = make_run(), client_of(member(workspace))
    assert "High" not in page_of(client, run)
    assert [post(client, run, value) for value in ("1", "-1", "0", "7", "")] == [403, 302, 302, 400, 400]


def test_who_may_change_a_priority(make_run, client_of, bob, charlie, alice):
    run = make_run()
    assert (post(client_of(bob), run, "-1"), post(client_of(charlie), run, "-1")) == (403, 404)
    assert client_of(alice).get(reverse("jobs:priority", args=[run.uid])).status_code == 405


def test_the_priority_of_a_run_that_waits_no_longer_stays(make_run, client_of, alice):
    run = make_run(RunState.RUNNING)
    post(client_of(alice), run, "1")
    run.refresh_from_db()
    assert run.priority == Priority.NORMAL


def test_operators_set_limits_and_priorities(make_run, admin_client, workspace):
    add = {"workspace": workspace.pk, "running": 2, "device_hours": "", "checkpoint_days": ""}
    admin_client.post(reverse("admin:jobs_limits_add"), add)
    assert Limits.objects.get().running == 2
    assert "0 runs, 0.0 device hours" in admin_client.get(reverse("admin:jobs_limits_changelist")).text
    run = make_run()
    action = {"action": "priority_high", "_selected_action": [run.pk]}
    admin_client.post(reverse("admin:jobs_run_changelist"), action)
    run.refresh_from_db()
    assert run.priority == Priority.HIGH
