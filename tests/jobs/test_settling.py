"""What a follower finds that comes after one that was killed: an end that nobody settled, a trainer on its way."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.utils import timezone
from filelock import FileLock

from jobs import follow, launch, lifecycle, publishing, tasks
from jobs.models import Publication, RunState
from jobs.training.events import FILE_NAME
from jobs.training.spec import LOCK_NAME

DONE = {"type": "done", "step": 3, "metrics": {}, "output": "output", "bytes": 1, "seconds": 2.0}
FAILED = {
    "type": "failed",
    "code": "out_of_memory",
    "params": {},
    "message": "The machine ran out of memory.",
}


@pytest.fixture
def taken_over(make_run):
    """A function that gives a claimed run whose events, these, the follower before has stored already."""

    def make(*events, **fields):
        run = make_run(attempt=1)
        directory = launch.run_directory(run)
        directory.mkdir(parents=True)
        common = {"time": "2026-01-01T00:00:00.000Z", "attempt": 1, "early_stopped": False}
        lines = "".join(json.dumps(common | event) + "\n" for event in events)
        (directory / FILE_NAME).write_text(lines)
        run.events_offset = len(lines)
        for name, value in fields.items():
            setattr(run, name, value)
        run.save()
        return lifecycle.claim_next(lifecycle.follower_name())

    return make


@pytest.fixture
def no_trainer(monkeypatch):
    def started(*args):
        raise AssertionError("a trainer was started")

    monkeypatch.setattr(launch, "prepare", started)


@pytest.mark.parametrize(("event", "state"), [(DONE, RunState.DONE), (FAILED, RunState.FAILED)])
def test_an_end_that_was_stored_and_not_settled_is_settled(taken_over, no_trainer, event, state):
    run = taken_over(event)
    follow.carry_out(run)
    run.refresh_from_db()
    assert (run.state, run.attempt, run.crashes) == (state, 1, 0)


def test_a_run_that_had_stopped_to_make_room_goes_on(taken_over, no_trainer):
    """`stopped` is no end by itself: without that a run that waits would never be started again."""
    run = taken_over({"type": "stopped", "step": 3, "checkpoint": 3})
    follow.carry_out(run)
    run.refresh_from_db()
    assert run.failure["message"] == "AssertionError: a trainer was started"


def test_a_run_that_was_to_pause_rests_with_its_progress(taken_over, no_trainer, alice):
    run = taken_over({"type": "stopped", "step": 3, "checkpoint": 3}, step=3)
    lifecycle.request_pause(run, alice)
    run.refresh_from_db()
    follow.carry_out(run)
    run.refresh_from_db()
    assert (run.state, run.is_paused, run.failure) == (RunState.WAITING, True, None)
    assert [entry.kind for entry in run.timeline.all()] == ["pause_requested", "paused"]
    assert lifecycle.claim_next(lifecycle.follower_name()) is None


FULL = FAILED | {"code": "disk_full", "message": "The disk is full."}


def test_a_run_that_met_a_full_disk_rests_and_goes_on_when_it_is_resumed(taken_over, no_trainer, alice):
    """Training for days is not lost because somebody else filled the disk."""
    run = taken_over(FULL, step=3)
    lifecycle.rest(run, {"code": "disk_full", "params": {}, "message": "The disk is full."})
    run.refresh_from_db()
    assert (run.state, run.is_paused, run.failure["code"]) == (RunState.WAITING, True, "disk_full")
    assert alice.receipts.get().notification.kind == "run.rests"
    assert lifecycle.claim_next(lifecycle.follower_name()) is None
    assert lifecycle.resume(run, alice)
    again = lifecycle.claim_next(lifecycle.follower_name())
    assert again.failure is None
    follow.carry_out(again)  # the old event is no end: a trainer is started
    again.refresh_from_db()
    assert again.failure["message"] == "AssertionError: a trainer was started"


@pytest.mark.parametrize("where", ["trainer", "directory"])
def test_a_full_disk_is_no_failure_of_the_run(taken_over, monkeypatch, where):
    run = taken_over(attempt=1)
    if where == "trainer":  # its last words, unread so far
        type(run).objects.filter(pk=run.pk).update(events_offset=0)
        run.refresh_from_db()
        line = json.dumps({"time": "2026-01-01T00:00:00.000Z", "attempt": 1} | FULL)
        (launch.run_directory(run) / FILE_NAME).write_text(f"{line}\n")

    def prepare(run):
        raise OSError(errno.ENOSPC, "No space left on device", "spec.json")

    monkeypatch.setattr(launch, "prepare", prepare)
    follow.carry_out(run)
    run.refresh_from_db()
    assert (run.is_paused, run.failure["code"]) == (True, "disk_full")


def test_a_trainer_that_a_full_disk_let_say_nothing_is_not_started_again(taken_over, monkeypatch):
    run = taken_over()
    monkeypatch.setattr(follow._Follower, "_start", lambda self: None)
    monkeypatch.setattr(follow.shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    follow.carry_out(run)
    run.refresh_from_db()
    assert (run.is_paused, run.failure["code"], run.crashes) == (True, "disk_full", 0)


def test_the_last_event_is_found_in_a_long_file_and_half_a_line_is_none(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_text('{"type":"progress"}\n' * 10_000 + '{"type":"done"}\n{"type":"pro')
    assert follow.last_event(path) == {"type": "done"}
    assert follow.last_event(tmp_path / "absent") is None


def test_a_trainer_that_is_there_already_is_followed_and_no_crash(taken_over, monkeypatch):
    """The worker before was killed just after it had started one: ours finds the directory locked and ends."""
    run = taken_over()
    directory = launch.run_directory(run)
    other = FileLock(directory / LOCK_NAME)

    def locked(*_given):
        other.acquire()
        return subprocess.Popen([sys.executable, "-c", f"raise SystemExit({follow.LOCKED})"])

    def ends(_seconds):
        line = json.dumps({"time": "2026-01-01T00:00:00.000Z", "attempt": 1, "early_stopped": False} | DONE)
        (directory / FILE_NAME).write_text(f"{line}\n")
        other.release()

    monkeypatch.setattr(launch, "prepare", lambda run: directory)
    monkeypatch.setattr(follow, "mix_report", lambda directory: {})
    monkeypatch.setattr(follow.warm, "take", locked)
    monkeypatch.setattr(follow.time, "sleep", ends)
    follow.carry_out(run)
    run.refresh_from_db()
    assert (run.state, run.crashes) == (RunState.DONE, 0)


@pytest.mark.parametrize("lives", [True, False], ids=["here", "elsewhere"])
def test_a_run_that_another_machine_took_over_is_trained_here_no_longer(taken_over, monkeypatch, lives):
    follower = lifecycle.follower_name() if lives else "elsewhere|1|1.0"
    run = taken_over()
    type(run).objects.filter(pk=run.pk).update(follower=follower, lease=run.lease + 1)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as trainer:
        monkeypatch.setattr(launch, "find_trainer_processes", lambda directory: [trainer])
        follow.end_stray_trainer(run)
        if lives:
            assert trainer.poll() is None
            trainer.kill()
        assert trainer.wait(10) == -9


def test_a_heartbeat_goes_on_after_a_database_that_was_away(taken_over, monkeypatch, settings):
    """A thread that ended with the first error would let the lease of a healthy run out."""
    settings.LEASE_SECONDS = 0.05
    beats = []

    def now():
        beats.append(1)
        if len(beats) == 1:
            raise OperationalError("the database is away")
        return timezone.now()

    run = taken_over()
    monkeypatch.setattr(lifecycle, "Now", now)
    with lifecycle.heartbeat(run):
        for _ in range(200):
            if len(beats) >= 3:
                break
            follow.threading.Event().wait(0.01)
    assert len(beats) >= 3


def test_a_publication_that_another_worker_is_at_is_left_to_it(make_run):
    run = make_run(RunState.DONE, publication=Publication.PENDING, publish_name="assistant")
    output = launch.run_directory(run) / "output"
    output.mkdir(parents=True)
    (output / "model.safetensors").write_bytes(b"weights")
    with FileLock(launch.run_directory(run) / publishing.LOCK_NAME):
        assert publishing.publish(run.pk) is None
        run.refresh_from_db()
        assert run.publication == Publication.PENDING
    assert publishing.publish(run.pk) is not None


def test_a_run_that_cannot_be_published_keeps_no_other_from_training(make_run, monkeypatch):
    make_run(RunState.DONE, publication=Publication.PENDING)
    waiting = make_run()

    def broken(run_id):
        raise OSError("the storage is away")

    carried = []
    monkeypatch.setattr(publishing, "publish", broken)
    monkeypatch.setattr(follow, "carry_out", carried.append)
    monkeypatch.setattr(tasks.warm, "keep_ready", lambda: None)
    tasks.run_training()
    assert [run.pk for run in carried] == [waiting.pk]
