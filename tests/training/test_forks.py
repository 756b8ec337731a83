"""What stands in for a trainer's start in tests behaves as one (tests/forks.py)."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest
from filelock import FileLock, Timeout

from jobs.training.spec import LOCK_NAME
from tests import forks
from tests.training.runs import ROOT, Run

pytestmark = pytest.mark.training


def start(run: Run) -> subprocess.Popen[str]:
    command = [forks.trainer_python(), "-m", "jobs.training", str(run.path)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def is_locked(run: Run) -> bool:
    try:
        with FileLock(run.path / LOCK_NAME, timeout=0):
            return False
    except Timeout:
        return True


def wait_until_it_trains(run: Run) -> None:
    deadline = time.monotonic() + 60
    while not (run.path / "events.jsonl").exists() or not run.all("metrics"):
        assert time.monotonic() < deadline, "it did not begin"
        time.sleep(0.01)


def test_output_and_exit_code_are_the_trainers(tmp_path):
    process = start(Run(tmp_path / "nothing"))
    assert "is not a directory" in process.communicate(timeout=60)[1]
    assert process.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_reaches_the_trainer(new_run, number):
    run = new_run("llama", epoch=500)
    process = start(run)
    wait_until_it_trains(run)
    assert is_locked(run)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == (0 if number == signal.SIGTERM else -number)
    assert bool(run.all("stopped")) == (number == signal.SIGTERM)
    deadline = time.monotonic() + 5
    while is_locked(run):
        assert time.monotonic() < deadline, "the trainer outlived the kill"
        time.sleep(0.01)
