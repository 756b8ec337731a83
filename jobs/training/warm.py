"""`python -m jobs.training --warm RUNS_DIR`: a process that has loaded the libraries and waits for one run.

It reads one line of JSON from its standard input: {"run_dir": …, "environment": {…}}; the environment says which GPUs
it may see. Then it is the trainer of that directory like one
that was started for it: its output goes to train.log, and it ends with the run. When the input is closed first (its
worker is gone, or needs it no more), it ends at once.
"""

import gc
import importlib
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

from jobs.training.trainers import REQUIRED

MODULES = ("jobs.training.text", "jobs.training.vision", "transformers.models.llama.modeling_llama")


def wait_for_run() -> Path | None:
    """Load the libraries and wait; None when nobody will come."""
    began = time.monotonic()
    for name in MODULES:
        importlib.import_module(name)
    for name in REQUIRED.values():  # peft loads it for every adapter, where it is installed
        if importlib.util.find_spec(name):
            importlib.import_module(name)
    # What is there now stays for good: a collection need not look at it (0.2 s for the libraries' objects).
    gc.collect()
    gc.freeze()
    print(
        f"warm trainer {os.getpid()}: libraries loaded in {time.monotonic() - began:.1f} s, {_megabytes()} MB",
        file=sys.stderr,
        flush=True,
    )
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        return None
    order = json.loads(line)
    _redirect(Path(order["log"]))
    _see(order.get("environment") or {}, order["run_dir"])
    return Path(order["run_dir"])


def _see(environment: dict[str, str], run_dir: str) -> None:
    """See the GPUs of the order alone. Should a library have asked CUDA before, it keeps to what it was told then: the
    process begins anew in its place.
    """
    os.environ |= environment
    devices = environment.get("CUDA_VISIBLE_DEVICES")
    if devices is None:
        return
    import torch

    if torch.cuda.is_initialized() or torch._C._cuda_getDeviceCount() != len(devices.split(",")):
        print("the libraries had looked for GPUs already; starting once more", flush=True)
        os.execv(sys.executable, [sys.executable, "-m", "jobs.training", run_dir])  # noqa: S606


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
