"""GPUs: every run has its own, on machines with several, and gives them back."""

import io
import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from jobs import devices, launch, lifecycle, warm
from jobs.models import Pool, RunState

ME = lifecycle.follower_name()
GPUS = ("0", "1", "2", "3")


@pytest.fixture
def pool(db) -> Pool:
    return Pool.objects.create(name="here", queue="training", slots=16, device_counts=[1, 2, 4, 8])


def claim(gpus=GPUS, follower=ME):
    run = lifecycle.claim_next(follower, None, gpus)
    return run and run.held_devices


def test_no_two_runs_hold_the_same_gpu(make_run, pool):
    for count in (2, 1, 1, 1):
        make_run(pool=pool, devices=count)
    assert [claim() for _time in range(4)] == [["0", "1"], ["2"], ["3"], None]


def test_gpus_of_a_run_that_ends_or_is_put_back_are_free_again(make_run, pool):
    for _number in range(3):
        make_run(pool=pool, devices=2)
    first, second = (lifecycle.claim_next(ME, None, GPUS) for _time in range(2))
    lifecycle.finish(second, RunState.DONE)
    assert claim() == ["2", "3"]
    lifecycle.release(first, "preempted")
    first.refresh_from_db()
    assert first.held_devices == []
    assert claim() == ["0", "1"]


def test_a_machine_leaves_runs_that_are_too_large_for_it_to_others(make_run, pool):
    large, small = make_run(pool=pool, devices=8), make_run(pool=pool)
    assert lifecycle.claim_next(ME, None, GPUS).pk == small.pk
    lifecycle.Run.objects.filter(pk=small.pk).update(follower="other|1|1")
    assert lifecycle.claim_next(ME, None, [str(number) for number in range(8)]).pk == large.pk


@pytest.mark.parametrize("pooled", [True, False])
def test_nobody_overtakes_a_run_that_waits_for_gpus_of_this_machine(make_run, pool, pooled):
    if not pooled:
        Pool.objects.all().delete()
    fields = {"pool": pool} if pooled else {}
    make_run(devices=3, **fields)
    assert claim() == ["0", "1", "2"]
    make_run(devices=2, **fields)
    make_run(devices=1, **fields)
    assert claim() is None


def test_gpus_of_another_machine_are_others(make_run, pool):
    for _number in range(2):
        make_run(pool=pool, devices=4)
    assert claim() == list(GPUS)
    lifecycle.Run.objects.filter(state=RunState.RUNNING).update(follower="other|1|1")
    assert claim() == list(GPUS)


def test_a_run_taken_over_on_its_machine_keeps_its_gpus(make_run, pool):
    host = ME.partition("|")[0]
    run = make_run(
        RunState.RUNNING, follower=f"{host}|999999999|1.0", heartbeat_at=timezone.now(), held_devices=["2"]
    )
    assert claim() == ["2"]
    run.refresh_from_db()
    assert run.lease == 1


def test_a_run_taken_over_from_another_machine_gets_free_ones(make_run, pool, settings):
    make_run(pool=pool, devices=3)
    claim()
    long_ago = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS + 1)
    fields = {"follower": "other|1|1", "heartbeat_at": long_ago, "held_devices": ["0"]}
    make_run(RunState.RUNNING, **fields)
    make_run(RunState.RUNNING, **fields)
    assert claim() == ["3"]
    assert claim() is None


def test_without_gpus_devices_are_only_counted(make_run, pool):
    make_run(pool=pool, devices=2)
    assert claim(gpus=()) == []


@pytest.mark.parametrize(
    ("listed", "found"), [("0,2", ("0", "2")), ("", ()), ("-1", ()), ("GPU-8f, 1,-1,2", ("GPU-8f", "1"))]
)
def test_a_worker_gives_away_what_it_may_see(monkeypatch, settings, listed, found):
    settings.TRAINER_DEVICE = "auto"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert devices.gpus_here() == found
    settings.TRAINER_DEVICE = "cpu"
    assert devices.gpus_here() == ()


def test_a_driver_that_does_not_answer_at_first_is_asked_again(monkeypatch, settings):
    settings.TRAINER_DEVICE = "auto"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "_found", ())
    monkeypatch.setattr(devices.shutil, "which", lambda name: name)
    answers = iter([[], [{}, {}]])
    monkeypatch.setattr(devices.announcing, "gpus", lambda: next(answers))
    assert [devices.gpus_here() for _time in range(3)] == [(), ("0", "1"), ("0", "1")]


def test_a_trainer_sees_the_gpus_of_its_run_alone(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(launch.subprocess, "Popen", lambda *args, env, **rest: seen.append(env))
    launch.start_trainer(tmp_path, ["1", "3"])
    launch.start_trainer(tmp_path)
    assert (seen[0]["CUDA_VISIBLE_DEVICES"], seen[0]["CUDA_DEVICE_ORDER"]) == ("1,3", "PCI_BUS_ID")
    assert seen[1].get("CUDA_VISIBLE_DEVICES") != "1,3"


def test_so_does_a_warm_one(monkeypatch, settings, tmp_path):
    pipe = io.BytesIO()
    process = SimpleNamespace(stdin=pipe, stdout=pipe, poll=lambda: None)
    settings.TRAINER_WARM = False  # no other is started beside it
    monkeypatch.setattr(warm, "_ready", [process])
    monkeypatch.setattr(warm, "_forks", [])
    assert warm.take(tmp_path, ["2"]).warm is process
    assert json.loads(pipe.getvalue())["environment"]["CUDA_VISIBLE_DEVICES"] == "2"
