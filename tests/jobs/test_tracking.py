"""Metrics for dashboards: what TensorBoard reads back, what an MLflow server is told, once each."""

import os
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from console.secrets import TRACKING, decrypt, encrypt
from jobs.models import Metric, RunState
from jobs.tracking import due, mlflow, sending, tensorboard
from jobs.tracking.models import Target, Tracked, Tracking
from tests.jobs.mlflow_server import mlflow_server

PAGE = reverse("tracking")


@pytest.fixture(autouse=True)
def _places(settings, tmp_path):
    settings.TENSORBOARD_DIR = tmp_path / "tensorboard"
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.0/8"]


@pytest.fixture
def server():
    with mlflow_server() as server:
        yield server


@pytest.fixture
def training(make_run):
    """A run of Alice's workspace that has begun, with 20 steps."""
    run = make_run(state=RunState.RUNNING)
    run.started_at = timezone.now()
    run.hyperparameters = {"epoch": 3}
    run.save()
    add(run, range(1, 21))
    return run


def add(run, steps) -> None:
    for key, scale in (("loss", 1.0), ("eval_loss", 2.0)):
        Metric.objects.bulk_create(Metric(run=run, key=key, step=step, value=scale / step) for step in steps)


def finish(run, state=RunState.DONE) -> None:
    run.state, run.finished_at = state, timezone.now()
    run.save()


@pytest.fixture
def board(workspace) -> Tracking:
    since = timezone.now() - timedelta(hours=1)
    return Tracking.objects.create(workspace=workspace, tensorboard=True, since=since)


@pytest.fixture
def to_mlflow(workspace, server) -> Tracking:
    since = timezone.now() - timedelta(hours=1)
    return Tracking.objects.create(workspace=workspace, mlflow_uri=server.address, since=since)


def read(workspace) -> dict[str, list[int]]:
    """Steps by curve, as TensorBoard itself reads the one directory that there is."""
    [file] = tensorboard.directory_of(workspace).rglob("events.out.*")
    found = EventAccumulator(str(file.parent)).Reload()
    return {tag: [point.step for point in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_reads_every_point_once(board, workspace, training):
    tensorboard.send(board)
    assert read(workspace) == {"train/loss": list(range(1, 21)), "eval/loss": list(range(1, 21))}
    add(training, range(21, 31))
    tensorboard.send(board)
    tensorboard.send(board)
    assert read(workspace)["train/loss"] == list(range(1, 31))


def test_tail_of_a_killed_attempt_is_cut_off(board, workspace, training):
    tensorboard.send(board)
    [file] = tensorboard.directory_of(workspace).rglob("events.out.*")
    with file.open("ab") as tail:
        tail.write(b"half a record")
    add(training, [21])
    tensorboard.send(board)
    assert read(workspace)["train/loss"] == list(range(1, 22))


def test_run_that_is_over_is_looked_at_no_more_until_it_is_resumed(board, training):
    finish(training, RunState.STOPPED)
    tensorboard.send(board)
    assert due.due_runs(board, Target.TENSORBOARD) == []
    training.finished_at = None
    training.save()
    assert due.due_runs(board, Target.TENSORBOARD) == [training]


def test_runs_before_it_was_switched_on_and_of_others_stay(board, training):
    Tracking.objects.update(since=timezone.now() + timedelta(hours=1))
    board.refresh_from_db()
    assert due.due_runs(board, Target.TENSORBOARD) == []


def test_mlflow_is_told_parameters_points_and_the_end(to_mlflow, server, training, workspace):
    mlflow.send(to_mlflow)
    [run] = server.runs.values()
    assert server.experiments == [workspace.name] and run["status"] == "RUNNING"
    assert run["params"]["epoch"] == "3" and run["tags"]["jingtiao.run"] == training.uid
    assert sorted(step for key, step, _value in run["metrics"] if key == "loss") == list(range(1, 21))
    finish(training)
    mlflow.send(to_mlflow)
    assert run["status"] == "FINISHED" and len(run["metrics"]) == 40


def test_what_arrived_before_a_kill_is_not_sent_twice(to_mlflow, server, training):
    """The server had everything, and the process was killed before it could save that."""
    mlflow.send(to_mlflow)
    Tracked.objects.all().delete()
    mlflow.send(to_mlflow)
    [run] = server.runs.values()
    assert len(run["metrics"]) == 40


def test_many_points_go_in_pieces(to_mlflow, server, training, monkeypatch):
    monkeypatch.setattr(mlflow, "POINTS_PER_REQUEST", 7)
    mlflow.send(to_mlflow)
    assert len(server.runs["run0"]["metrics"]) == 40


def test_refusal_is_kept_for_the_page_and_tried_again(to_mlflow, server, training, client_of, alice):
    server.refuses = True
    mlflow.send(to_mlflow)
    assert "Who are you?" in Tracked.objects.get().error
    assert "Who are you?" in client_of(alice).get(PAGE).content.decode()
    server.refuses = False
    mlflow.send(to_mlflow)
    assert Tracked.objects.get().error == "" and len(server.runs["run0"]["metrics"]) == 40


def test_who_signs_in_is_said_to_the_server_alone(to_mlflow, server, training, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
    to_mlflow.mlflow_secret = encrypt("t0ken", TRACKING)
    mlflow.send(to_mlflow)
    assert server.authorizations == {"Bearer t0ken"}
    assert "MLFLOW_TRACKING_TOKEN" not in os.environ


def test_inner_address_is_not_called(to_mlflow, server, training, settings):
    settings.ALLOWED_PRIVATE_ENDPOINTS = []
    mlflow.send(to_mlflow)
    assert server.authorizations == set() and "inside the network" in Tracked.objects.get().error


def test_one_target_that_fails_keeps_no_other_waiting(board, training, monkeypatch, server):
    Tracking.objects.update(mlflow_uri=server.address)
    told = []
    monkeypatch.setitem(sending.SENDERS, Target.TENSORBOARD, lambda tracking: (_ for _ in ()).throw(OSError))
    monkeypatch.setitem(sending.SENDERS, Target.MLFLOW, told.append)
    sending.send_all()
    assert told == [board]


def test_owner_saves_and_the_secret_is_kept_encrypted_and_unseen(client_of, alice, server):
    client = client_of(alice)
    data = {"tensorboard": "on", "mlflow_uri": server.address + "/", "secret": "s3cret"}
    assert client.post(PAGE, data).status_code == 302
    saved = Tracking.objects.get()
    assert saved.tensorboard and saved.mlflow_uri == server.address
    assert decrypt(saved.mlflow_secret, TRACKING) == "s3cret"
    assert b"s3cret" not in client.get(PAGE).content
    client.post(PAGE, {"mlflow_uri": server.address})
    assert decrypt(Tracking.objects.get().mlflow_secret, TRACKING) == "s3cret"


def test_kept_secret_does_not_move_to_another_server(client_of, alice, server):
    client = client_of(alice)
    client.post(PAGE, {"mlflow_uri": server.address, "secret": "s3cret"})
    answer = client.post(PAGE, {"mlflow_uri": "http://127.0.0.1:9"})
    assert answer.status_code == 422 and "typed again" in answer.content.decode()


@pytest.mark.parametrize(
    "uri", ["ftp://x", "nonsense", "http://10.0.0.1", "http://u:p@127.0.0.1", "http://["]
)
def test_address_that_may_not_be_called_is_refused_at_its_field(client_of, alice, uri):
    answer = client_of(alice).post(PAGE, {"mlflow_uri": uri})
    assert answer.status_code == 422 and "mlflow_uri" in answer.content.decode()
    assert not Tracking.objects.exists()


def test_others_look_but_do_not_change(client_of, bob, client):
    assert client_of(bob).get(PAGE).status_code == 200
    assert client_of(bob).post(PAGE, {}).status_code == 403
    assert client_of(bob).put(PAGE).status_code == 405
    assert client.get(PAGE).status_code == 302
