"""Warm processes: how many there are and when, and their forks as the worker sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import pytest

from jobs import warm

# Answers as jobs/training/warm.py does; its orders are command lines.
ANSWERS = """
import json, subprocess, sys
for line in sys.stdin:
    child = subprocess.Popen(json.loads(line)["arguments"])
    print(json.dumps({"pid": child.pid}), flush=True)
    print(json.dumps({"code": child.wait()}), flush=True)
"""


@pytest.fixture
def ready(monkeypatch, settings):
    """The list of warm processes that wait, of a worker with two slots."""
    settings.TRAINER_WARM, settings.TRAINING_SLOTS = True, 2
    started = []

    def start():
        command = [sys.executable, "-S", "-c", ANSWERS]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "bufsize": 0}
        started.append(subprocess.Popen(command, start_new_session=True, **pipes))
        return started[-1]

    monkeypatch.setattr(warm, "_ready", [])
    monkeypatch.setattr(warm, "_forks", [])
    monkeypatch.setattr(warm, "_start", start)
    yield warm._ready
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with its children
        process.stdin.close()
        process.stdout.close()
        process.wait()


def order(tmp_path, *command, is_run=True):
    return warm._order(list(command), tmp_path / "log", {}, is_run=is_run)


def test_there_is_one_for_each_slot_beside_runs_too(ready, tmp_path):
    warm.keep_ready()
    order(tmp_path, "sleep", "60")
    warm.keep_ready()
    assert (len(ready), len(warm._forks)) == (1, 1)


def test_the_exit_code_comes_back_and_the_same_process_takes_the_next_order(ready, settings, tmp_path):
    settings.TRAINING_SLOTS = 1
    first = order(tmp_path, "sleep", "60")
    assert order(tmp_path, "true") is None  # one at a time
    first.send_signal(signal.SIGTERM)
    assert first.wait(10) == -signal.SIGTERM
    second = order(tmp_path, "false")
    assert second.wait(10) == 1 and second.warm is first.warm


def test_a_signal_reaches_the_fork(ready, tmp_path):
    fork = order(tmp_path, "sleep", "60")
    with pytest.raises(subprocess.TimeoutExpired):
        fork.wait(0.05)
    fork.send_signal(signal.SIGTERM)
    assert fork.wait(10) == -signal.SIGTERM


def test_a_fork_is_followed_to_its_end_when_its_warm_process_is_killed(ready, tmp_path):
    fork = order(tmp_path, "sleep", "60")
    fork.send_signal(signal.SIGCONT)  # from here on its number is known
    fork.warm.kill()
    fork.warm.wait()
    assert fork.poll() is None and fork.poll() is None  # the second look knows that nobody will answer
    fork.send_signal(signal.SIGTERM)
    assert fork.wait(10) is not None


def test_the_end_of_a_worker_interrupts_what_is_no_run(ready, tmp_path):
    run, merging = (order(tmp_path, "sleep", "60", is_run=is_run) for is_run in (True, False))
    warm.let_go()
    assert merging.wait(10) == -signal.SIGTERM
    assert run.poll() is None and run.warm.stdin.closed


def test_a_setting_turns_it_off(ready, settings, tmp_path):
    settings.TRAINER_WARM = False
    assert order(tmp_path, "true") is None and ready == []
