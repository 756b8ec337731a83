"""A real Celery worker carries out real runs: to the end, through a stop, and through kill -9 at any time."""

from __future__ import annotations

import json
import os

import psutil
import pytest
from django.conf import settings

from catalog.models import BaseModel, Offer
from catalog.models.registry import ModelVersionState
from datasets.mixing import Source
from jobs import launch, lifecycle
from jobs.configuration import Configuration, submit
from jobs.models import Pool, Publication, RunState
from jobs.resources import Resources
from jobs.training.checkpoints import list_checkpoints
from tests.processes import Worker, wait_for
from tests.tiny_models import make_tiny

pytestmark = [pytest.mark.training, pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("weights") / "llama", "llama")


@pytest.fixture
def start_worker(tmp_path):
    """Returns a function that starts a training worker; all of them and their trainers end with the test."""
    workers = []

    def start(**extra):
        workers.append(Worker(tmp_path / "worker.log", **extra))
        return workers[-1]

    yield start
    for worker in workers:
        worker.stop()
    for process in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(process.info["cmdline"] or []):
            process.kill()


@pytest.fixture
def submit_run(workspace, alice, base_model, make_version, weights):
    """Returns a function that submits a small run on a tiny Llama."""
    BaseModel.objects.filter(pk=base_model.pk).update(weights_location=str(weights))
    Offer.objects.get_or_create(base_model=base_model, method="FullFineTuning")
    base_model.refresh_from_db()
    version = make_version(120)

    def run(method="LoRA", resources=None, **hyperparameters):
        configuration = Configuration(
            name=f"job {method}",
            model_type="text2text",
            base_model=base_model,
            method=method,
            hyperparameters={"epoch": 1, "learningRate": 1e-3, "batchSize": 8, "maxSeqLen": 512}
            | hyperparameters,
            sources=[Source(version)],
            resources=resources or Resources(),
            auto_publish=True,
            model_name=f"tiny-{method}",
        )
        return submit(workspace, alice, configuration)

    return run


def state_of(run):
    run.refresh_from_db()
    return run.state


@pytest.mark.parametrize("method", ["LoRA", "FullFineTuning"])
def test_a_run_trains_to_the_end_and_is_published(start_worker, submit_run, method):
    run = submit_run(method)
    start_worker(PUBLISH_MERGED="auto")
    wait_for(lambda: state_of(run) in (RunState.DONE, RunState.FAILED))
    assert (run.state, run.failure) == (RunState.DONE, None)
    wait_for(lambda: state_of(run) and run.publication != Publication.PENDING)
    assert run.model_version.state == ModelVersionState.READY
    names = {item["name"] for item in run.model_version.files}
    assert ("merged/model.safetensors" if method == "LoRA" else "model.safetensors") in names
    assert run.metrics.filter(key="loss").count() >= run.total_steps // 2


def test_a_run_stops_half_way_with_a_checkpoint(start_worker, submit_run, alice):
    run = submit_run("LoRA", epoch=200)
    start_worker()
    wait_for(lambda: state_of(run) and run.step >= 3)
    lifecycle.request_stop(run, alice)
    wait_for(lambda: state_of(run) == RunState.STOPPED, 30)
    assert run.checkpoints.exists()
    assert run.publication == Publication.SKIPPED
    assert not launch.is_training(launch.run_directory(run))


def test_kill_9_of_the_worker_loses_nothing(start_worker, submit_run):
    run = submit_run("LoRA", epoch=20)
    worker = start_worker()
    wait_for(lambda: state_of(run) and run.step >= 3)
    worker.kill()
    start_worker()
    wait_for(lambda: state_of(run) == RunState.DONE)
    # The trainer went on by itself and was found again: one start, and every step has exactly one point.
    assert run.attempt == 1
    steps = list(run.metrics.filter(key="loss").order_by("step").values_list("step", flat=True))
    assert steps == list(range(1, run.total_steps + 1))


def test_kill_9_of_the_trainer_resumes_from_the_checkpoint(start_worker, submit_run):
    run = submit_run("LoRA", epoch=20, saveStep=64, checkpointCount=2)
    start_worker()
    directory = launch.run_directory(run)
    # On the disk it is seen sooner than in the database: on a busy machine the run would be over by then. One that is
    # being written is none yet.
    wait_for(lambda: list_checkpoints(directory / "checkpoints"))
    for process in launch.find_trainer_processes(directory):
        process.kill()
    wait_for(lambda: state_of(run) == RunState.DONE)
    assert (run.attempt, run.crashes) == (2, 1)
    assert run.timeline.filter(kind="resumed", data__step__gte=64).exists()


def test_a_worker_that_is_told_to_end_puts_its_run_back(start_worker, submit_run):
    run = submit_run("LoRA", epoch=200)
    worker = start_worker()
    wait_for(lambda: state_of(run) and run.step >= 3)
    worker.stop()
    assert state_of(run) == RunState.WAITING
    assert run.checkpoints.exists()
    assert not launch.is_training(launch.run_directory(run))


def test_a_lost_wake_up_and_a_missing_directory_end_in_one_clear_failure(
    start_worker, submit_run, base_model
):
    BaseModel.objects.filter(pk=base_model.pk).update(weights_location="/nowhere/at/all")
    run = submit_run()
    start_worker()  # asks by itself when it comes up: no message is needed
    wait_for(lambda: state_of(run) == RunState.FAILED, 30)
    assert run.failure["code"] == "weights_missing"
    assert "/nowhere/at/all" in json.dumps(run.failure)


def test_two_workers_never_train_one_run_twice(start_worker, submit_run):
    run = submit_run("LoRA", epoch=5)
    start_worker()
    start_worker()
    wait_for(lambda: state_of(run) == RunState.DONE)
    assert (run.attempt, run.lease) == (1, 1)


def test_an_idle_run_makes_room_and_goes_on_by_itself(start_worker, submit_run):
    pool = Pool.objects.create(name="here", slots=1)
    idle = submit_run("LoRA", Resources(pool, idle=True), epoch=30)
    start_worker()
    wait_for(lambda: state_of(idle) and idle.step >= 3)
    normal = submit_run("FullFineTuning", Resources(pool))
    wait_for(lambda: state_of(normal) == RunState.RUNNING, 30)
    assert state_of(idle) == RunState.WAITING
    wait_for(lambda: state_of(idle) == RunState.DONE)
    assert state_of(normal) == RunState.DONE
    kinds = list(idle.timeline.exclude(kind="checkpoint").values_list("kind", flat=True))
    assert kinds[:4] == ["submitted", "started", "preempted", "resumed"]
    assert (idle.attempt, idle.crashes) == (2, 0)
    steps = list(idle.metrics.filter(key="loss").order_by("step").values_list("step", flat=True))
    assert steps == list(range(1, idle.total_steps + 1))


def test_a_run_is_taken_by_a_worker_of_its_pool_only(start_worker, submit_run):
    start_worker()
    run = submit_run("LoRA", Resources(Pool.objects.create(name="elsewhere", queue="elsewhere")), epoch=30)
    worker = start_worker(queues="elsewhere")
    wait_for(lambda: state_of(run) == RunState.RUNNING)
    assert f"|{worker.process.pid}|" in run.follower


def warm_processes():
    """The warm processes of this test's runs directory, and their forks."""
    own = ["-m", "jobs.training", launch.WARM, str(settings.RUNS_DIR)]
    return [
        process for process in psutil.process_iter(["cmdline"]) if (process.info["cmdline"] or [])[1:5] == own
    ]


def test_a_fork_of_a_warm_trainer_outlives_its_worker_and_can_be_stopped(
    start_worker, submit_run, alice, tmp_path
):
    worker = start_worker(TRAINER_WARM="1")
    wait_for(lambda: "libraries loaded in" in (tmp_path / "worker.log").read_text(), 60)
    (warm,) = warm_processes()
    run = submit_run("LoRA", epoch=400)
    wait_for(lambda: state_of(run) and run.step >= 3)
    directory = launch.run_directory(run)
    (trainer,) = launch.find_trainer_processes(directory)
    assert trainer.ppid() == warm.pid and os.getpgid(trainer.pid) == trainer.pid
    assert not {"DATABASE_URL", "REDIS_URL", "SECRET_KEY"} & set(warm.environ())
    assert "attempt 1: LoRA" in (directory / "train.log").read_text()
    worker.kill()
    start_worker()  # without a warm trainer of its own: it finds the one that trains
    lifecycle.request_stop(run, alice)
    wait_for(lambda: state_of(run) == RunState.STOPPED, 30)
    assert run.attempt == 1 and run.checkpoints.exists()
    wait_for(lambda: not warm_processes(), 10)


def test_a_warm_trainer_that_is_not_needed_ends_with_its_worker(start_worker):
    worker = start_worker(TRAINER_WARM="1")
    wait_for(warm_processes, 30)
    worker.kill()
    wait_for(lambda: not warm_processes(), 30)
