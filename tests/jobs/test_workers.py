"""Workers announce themselves, and the page of resources shows what they do to whom it concerns."""

import threading
import time
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from jobs import announcing, loads
from jobs.models import Pool, RunState, Worker

PAGE = reverse("resources")


def test_a_worker_announces_itself_once_and_leaves(transactional_db) -> None:
    ended = threading.Event()
    thread = announcing.keep_announcing("trainer@here", {"training", "a100"}, 2, ended)
    deadline = time.monotonic() + 20
    while not Worker.objects.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = Worker.objects.get()
    assert (worker.queues, worker.slots) == (["a100", "training"], 2)
    assert worker.devices[-1]["kind"] == "cpu"
    assert worker.devices[-1]["memory"] > 0
    assert "python" in worker.versions
    ended.set()
    thread.join(20)
    assert not Worker.objects.exists()


@pytest.mark.django_db
def test_a_restarted_worker_keeps_its_place_and_old_ones_are_forgotten() -> None:
    announcing.announce("trainer@here", ["training"], 1)
    old = announcing.announce("trainer@gone", ["training"], 1)
    Worker.objects.filter(pk=old.pk).update(heartbeat_at=timezone.now() - timedelta(days=2))
    announcing.announce("trainer@here", ["training"], 4)
    assert Worker.objects.values_list("name", "slots").get() == ("trainer@here", 4)


def test_gpus_as_the_driver_lists_them() -> None:
    listed = list(announcing.read_gpus(["NVIDIA H100 80GB HBM3, 81559", "NVIDIA GB10, [N/A]"]))
    assert listed == [
        {"kind": "cuda", "name": "NVIDIA H100 80GB HBM3", "memory": 81559 * 1024**2},
        {"kind": "cuda", "name": "NVIDIA GB10", "memory": None},
    ]


def test_the_page_shows_pools_and_workers(client_of, alice, charlie, make_run) -> None:
    pool = Pool.objects.create(name="A100", queue="a100", slots=4, price=12)
    worker = announcing.announce("trainer@here", ["a100"], 1)
    run = make_run(RunState.RUNNING, pool=pool, devices=3, follower=worker.process)
    make_run(pool=pool)
    page = client_of(alice).get(PAGE)
    (item,) = page.context["pools"]
    assert (item.held, item.free, item.waiting, item.workers) == (3, 1, 1, 1)
    assert reverse("jobs:run", args=[run.uid]) in page.text
    other = client_of(charlie).get(PAGE)
    assert run.uid not in other.text
    assert "1 run of another workspace" in other.text
    assert client_of(alice).post(PAGE).status_code == 405
    fragment = client_of(alice).get(PAGE, headers={"hx-request": "true"})
    assert "<html" not in fragment.text


def test_a_silent_worker_is_lost_and_serves_no_pool(client_of, alice) -> None:
    Pool.objects.create(name="A100", queue="a100", slots=4)
    announcing.announce("trainer@here", ["a100"], 1)
    Worker.objects.update(heartbeat_at=timezone.now() - 2 * announcing.LOST_AFTER)
    page = client_of(alice).get(PAGE)
    assert page.context["workers"][0].is_lost
    assert page.context["pools"][0].workers == 0
    assert ">lost<" in page.text


def test_runs_without_a_pool_count_for_the_default_one(workspace, make_run) -> None:
    Pool.objects.create(name="Here", queue="training", slots=1)
    make_run()
    (item,) = loads.pools(loads.workers([workspace]))
    assert item.waiting == 1


def test_the_page_asks_the_database_a_fixed_number_of_times(
    client_of, alice, make_run, django_assert_max_num_queries
) -> None:
    for number in range(6):
        pool = Pool.objects.create(name=f"P{number}", queue=f"q{number}", slots=4)
        worker = announcing.announce(f"trainer@{number}", [pool.queue], 1)
        make_run(RunState.RUNNING, pool=pool, follower=worker.process)
    client = client_of(alice)
    with django_assert_max_num_queries(10):
        client.get(PAGE)
