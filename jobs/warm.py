"""Trainer processes that have loaded their libraries (4-6 s) before there is a run for them.

A training worker keeps one for each of its slots while it has nothing to do (TRAINER_WARM), and makes the next one
ready while a run trains, where memory allows (TRAINER_WARM_NEXT): a run from the queue then starts as soon. A warm
trainer takes no memory of a GPU. A run takes one by a line on its standard input (jobs/training/warm.py); it is then
the trainer of that run and of no other. One that is not used ends with its worker, because its input is closed.
Without a warm one a trainer is started as always.
"""

from __future__ import annotations

import json
import logging
import subprocess
import threading
from pathlib import Path

import psutil
from django.conf import settings

from jobs import devices, launch
from jobs.run_files import LOG_NAME

logger = logging.getLogger(__name__)
# What must be free for one more beside a run that trains: itself 0.5 GB, the rest for what the run still asks for.
FREE_FOR_NEXT = 4 * 1024**3
_waiting: list[subprocess.Popen[bytes]] = []
_lock = threading.Lock()


def keep_ready() -> None:
    """Starts warm trainers until there is one for each slot of this worker."""
    if not settings.TRAINER_WARM:
        return
    with _lock:
        _waiting[:] = [process for process in _waiting if process.poll() is None]
        while len(_waiting) < settings.TRAINING_SLOTS:
            _waiting.append(_start())


def keep_next_ready() -> None:
    """The same beside runs that train, unless memory is short."""
    if settings.TRAINER_WARM_NEXT and psutil.virtual_memory().available >= FREE_FOR_NEXT:
        keep_ready()


def _start() -> subprocess.Popen[bytes]:
    settings.RUNS_DIR.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        # The directory of the runs says whose trainer it is, to whoever looks at command lines.
        [launch.python(), "-m", "jobs.training", launch.WARM, str(settings.RUNS_DIR)],
        cwd=settings.BASE_DIR,
        # Whether there is CUDA is looked up without a CUDA context, which would settle what devices there are.
        env=launch.trainer_environment() | {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def take(directory: Path, held: list[str] | None = None) -> subprocess.Popen[bytes] | None:
    """A warm trainer that has been given this run directory and the GPUs that are held; None if there is none."""
    order = {"run_dir": str(directory), "log": str(directory / LOG_NAME)}
    line = json.dumps(order | {"environment": devices.environment(held or [])}) + "\n"
    while True:
        with _lock:
            if not _waiting:
                return None
            process = _waiting.pop(0)
        assert process.stdin is not None
        try:
            with process.stdin as pipe:
                pipe.write(line.encode())
        except OSError:
            logger.warning("the warm trainer %s had ended", process.pid)
            process.kill()
            process.wait()
            continue
        if process.poll() is None:
            return process


def let_go() -> None:
    """Ends the warm trainers that wait."""
    with _lock:
        for process in _waiting:
            assert process.stdin is not None
            process.stdin.close()
            process.terminate()
        _waiting.clear()
