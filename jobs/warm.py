"""Processes that have loaded the training libraries (4-6 s) before there is a run for them.

A training worker keeps one for each of its slots (TRAINER_WARM), which forks for each run and for each adapter to be
merged (jobs/training/warm.py): the libraries are loaded once, and a run starts at once. What it has loaded it shares
with its forks, so that it takes little memory beside them, and none of a GPU. It ends with its worker, because its
input is closed; a fork that trains goes on. Without a warm one, a process is started for each run.
"""

from __future__ import annotations

import json
import logging
import multiprocessing.connection
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
from django.conf import settings

from jobs import devices, launch
from jobs.run_files import LOG_NAME

logger = logging.getLogger(__name__)
ORPHAN_POLL_SECONDS = 0.1
_ready: list[subprocess.Popen[bytes]] = []
_forks: list[Fork] = []
_lock = threading.Lock()


class Fork:
    """What a warm process has forked for an order; used like a subprocess.Popen."""

    def __init__(self, warm: subprocess.Popen[bytes], log: Path, *, is_run: bool) -> None:
        self.warm, self.log, self.is_run = warm, log, is_run
        self.returncode: int | None = None
        self._process: psutil.Process | None = None
        self._is_orphaned = False
        self._reading = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, None while it works; like Popen's, below zero after a signal."""
        self._listen(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end, and raises subprocess.TimeoutExpired after so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self._listen(left)
            if self.returncode is None and left == 0:
                raise subprocess.TimeoutExpired(str(self.log), timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, to a process that has not been forked yet as soon as it is there."""
        while self._process is None and self.returncode is None:
            self._listen(None)
        if self._process is not None:
            with suppress(psutil.NoSuchProcess):
                self._process.send_signal(number)

    def _listen(self, timeout: float | None) -> None:
        """Takes one answer of the warm process, should it come within so many seconds (None: however late)."""
        if self._is_orphaned:
            if self._lives():
                time.sleep(ORPHAN_POLL_SECONDS if timeout is None else min(timeout, ORPHAN_POLL_SECONDS))
            else:
                self.returncode = self.warm.wait()
        elif self.returncode is None and self._has_answer(timeout):
            with self._reading:
                if self.returncode is None and self._has_answer(0):  # not taken by another thread meanwhile
                    assert self.warm.stdout is not None
                    self._understand(self.warm.stdout.readline())

    def _has_answer(self, timeout: float | None) -> bool:
        return bool(multiprocessing.connection.wait([self.warm.stdout], timeout))  # type: ignore[list-item]

    def _understand(self, line: bytes) -> None:
        if not line:  # the warm process was killed; the fork works on, and nobody will learn how it ends
            self._is_orphaned = True
            return
        answer = json.loads(line)
        self.returncode = answer.get("code")
        if "pid" in answer:
            with suppress(psutil.NoSuchProcess):  # ended already: its code comes next
                self._process = psutil.Process(answer["pid"])

    def _lives(self) -> bool:
        try:
            # Where nobody reaps orphans, as in many a container, one that has ended stays listed.
            return self._process is not None and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def keep_ready() -> None:
    """Starts warm processes until there is one for each slot of this worker."""
    if not settings.TRAINER_WARM:
        return
    with _lock:
        _take_back()
        while len(_ready) + len(_forks) < settings.TRAINING_SLOTS:
            _ready.append(_start())


def _take_back() -> None:
    """Those whose forks have ended are ready again; those that have ended themselves are forgotten."""
    for fork in list(_forks):
        if fork.poll() is not None:
            _forks.remove(fork)
            _ready.append(fork.warm)
    _ready[:] = [process for process in _ready if process.poll() is None]


def _start() -> subprocess.Popen[bytes]:
    settings.RUNS_DIR.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        # The directory of the runs says whose trainer it is, to whoever looks at command lines.
        [launch.python(), "-m", "jobs.training", launch.WARM, str(settings.RUNS_DIR)],
        cwd=settings.BASE_DIR,
        # Whether there is CUDA is looked up without a CUDA context, which would settle what devices there are.
        env=launch.trainer_environment() | {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # an answer that was read ahead would not wake whoever waits for it
        start_new_session=True,
    )


def take(directory: Path, held: list[str] | None = None) -> Fork | None:
    """The trainer of this run directory, forked by a warm process, which sees the GPUs that are held; None if there
    is none to be had."""
    return _order([str(directory)], directory / LOG_NAME, devices.environment(held or []), is_run=True)


def carry_out(arguments: list[str], log: Path) -> Fork | None:
    """`python -m jobs.training ARGUMENTS`, which is no run and is interrupted when the worker ends, in a fork of a warm
    process, its output appended to `log`; None if there is none to be had."""
    return _order(arguments, log, {}, is_run=False)


def _order(arguments: list[str], log: Path, environment: dict[str, str], *, is_run: bool) -> Fork | None:
    keep_ready()
    order = {"arguments": arguments, "log": str(log), "environment": environment}
    with _lock:
        while _ready:
            process = _ready.pop(0)
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(order).encode() + b"\n")
            except OSError:
                logger.warning("the warm trainer %s had ended", process.pid)
                process.kill()
                process.wait()
                continue
            fork = Fork(process, log, is_run=is_run)
            _forks.append(fork)
            return fork
    return None


def let_go() -> None:
    """Ends the warm processes that wait, and what is no run; the others end with their runs."""
    with _lock:
        for fork in _forks:
            if not fork.is_run:
                fork.send_signal(signal.SIGTERM)
        for process in [*_ready, *(fork.warm for fork in _forks)]:
            assert process.stdin is not None
            process.stdin.close()
        for process in _ready:
            process.terminate()
        _ready.clear()
