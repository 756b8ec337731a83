"""`python -m jobs.training --warm RUNS_DIR`: a process that has loaded the libraries and forks for whoever needs them.

Each line of its standard input is an order: {"arguments": […], "log": …, "environment": {…}}, where the arguments are
those of `python -m jobs.training`, most often a run directory, and the environment says which GPUs may be seen. A
fork carries it out, like a process that was started for it: the leader of its own group, its output appended to the
log. The answers, lines of its standard output, are {"pid": …} and, at the end, {"code": …}. One order at a time; when
the input is closed the process ends, after the fork that still works.
"""

import gc
import importlib
import importlib.util
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from jobs.training.trainers import REQUIRED

MODULES = (
    "jobs.training.text",
    "jobs.training.vision",
    "jobs.training.merging",
    "transformers.models.llama.modeling_llama",
)


def serve() -> list[str] | None:
    """Load the libraries and fork for each order. Returns in a fork, with the arguments; None at the end of input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints does not answer for us
    _load()
    for line in iter(sys.stdin.readline, ""):
        if not line.endswith("\n"):
            return None
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            answers.close()
            return _become(order)
        _say(answers, pid=pid)
        _say(answers, code=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return None


def _load() -> None:
    began = time.monotonic()
    for name in MODULES:
        importlib.import_module(name)
    for name in REQUIRED.values():  # peft loads it for every adapter, where it is installed
        if importlib.util.find_spec(name):
            importlib.import_module(name)
    # What is there now stays for good: a collection need not look at it (0.2 s for the libraries' objects), and the
    # forks go on sharing its memory.
    gc.collect()
    gc.freeze()
    print(
        f"warm trainer {os.getpid()}: libraries loaded in {time.monotonic() - began:.1f} s, {_megabytes()} MB",
        file=sys.stderr,
        flush=True,
    )


def _say(answers: TextIO, **answer: int) -> None:
    with suppress(
        BrokenPipeError
    ):  # the worker is gone, and whoever comes next finds the fork by its directory
        print(json.dumps(answer), file=answers, flush=True)


def _become(order: dict) -> list[str]:
    """In the fork: the process that the order describes."""
    os.setsid()
    _redirect(Path(order["log"]))
    _see(order["environment"], order["arguments"])
    return order["arguments"]


def _see(environment: dict[str, str], arguments: list[str]) -> None:
    """See the GPUs of the order alone. Should a library have asked CUDA before, it keeps to what it was told then, and
    a fork cannot use it at all: the process begins anew in its place.
    """
    import torch

    os.environ |= environment
    devices = environment.get("CUDA_VISIBLE_DEVICES")
    if (
        torch.cuda._is_in_bad_fork()
        or torch.cuda.is_initialized()
        or (devices is not None and torch._C._cuda_getDeviceCount() != len(devices.split(",")))
    ):
        print("the libraries had looked for GPUs already; starting once more", flush=True)
        os.execv(sys.executable, [sys.executable, "-m", "jobs.training", *arguments])  # noqa: S606


def _redirect(log: Path) -> None:
    """Output to the log, nothing to read any more: what a trainer has that was started for its run."""
    target = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, number in ((nothing, 0), (target, 1), (target, 2)):
        os.dup2(source, number)
    os.close(nothing)
    os.close(target)


def _megabytes() -> int:
    """Resident memory of this process."""
    import psutil

    return psutil.Process().memory_info().rss // 1_000_000
