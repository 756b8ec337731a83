"""The pool of the machine that the console runs on, made once where no operator has set one up."""

from __future__ import annotations

import subprocess

from django.conf import settings

from jobs.models import Accelerator, Pool
from jobs.queueing import DEFAULT_QUEUE

# In both languages: a pool's name is the operator's, who may change it.
NAME = "本机 / This machine"


def make_default_pool() -> Pool | None:
    """Makes the pool of the queue `training` with the accelerator found here; None if there is any pool already."""
    if Pool.objects.exists():
        return None
    gpu = gpu_name() if settings.TRAINER_DEVICE != "cpu" else ""
    return Pool.objects.create(
        name=NAME,
        queue=DEFAULT_QUEUE,
        accelerator=Accelerator.GPU if gpu else Accelerator.CPU,
        device_name=gpu[:50],
        slots=settings.TRAINING_SLOTS,
        device_counts=[1],
    )


def gpu_name() -> str:
    """The name of the first NVIDIA GPU of this machine; empty where there is none or no driver."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return next(iter(result.stdout.strip().splitlines()), "").strip()
