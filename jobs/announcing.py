"""Workers say that they are there: what they serve, what they have, how busy they are.

Only for people and the page of resources. What a worker may do is decided by leases (jobs/lifecycle.py).
"""

from __future__ import annotations

import csv
import logging
import platform
import shutil
import socket
import subprocess
import threading
from collections.abc import Collection, Iterable
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
from django.db import DatabaseError, connection
from django.utils import timezone

from jobs import lifecycle
from jobs.models import Worker
from jobs.training.trainers import REQUIRED

logger = logging.getLogger(__name__)
HEARTBEAT_SECONDS = 5
# A worker that is silent for so long is shown as lost, and forgotten after a day.
LOST_AFTER = timedelta(seconds=30)
FORGOTTEN_AFTER = timedelta(days=1)
PACKAGES = ("torch", "transformers", "peft", "trl", "diffusers", *REQUIRED.values())


def announce(name: str, queues: Collection[str], slots: int) -> Worker:
    """Writes down that this process works under that name, and forgets the ones that are long gone."""
    now = timezone.now()
    Worker.objects.filter(heartbeat_at__lt=now - FORGOTTEN_AFTER).delete()
    worker, _new = Worker.objects.update_or_create(
        name=name,
        defaults={
            "process": lifecycle.follower_name(),
            "host": socket.gethostname(),
            "queues": sorted(queues),
            "slots": slots,
            "devices": devices(),
            "versions": versions(),
            "load": load(),
            "started_at": now,
            "heartbeat_at": now,
        },
    )
    return worker


def keep_announcing(
    name: str, queues: Collection[str], slots: int, ended: threading.Event
) -> threading.Thread:
    """Announces this process and repeats its load until `ended` is set; then it is no longer listed.

    A thread: a worker that waits for a trainer is not asked. A database that is away is tried again.
    """

    def beat() -> None:
        worker: Worker | None = None
        while True:
            try:
                if worker is None:
                    worker = announce(name, queues, slots)
                else:
                    own = Worker.objects.filter(pk=worker.pk, process=worker.process)
                    if not own.update(load=load(), heartbeat_at=timezone.now()):
                        worker = announce(name, queues, slots)
            except DatabaseError:
                logger.warning("%s could not announce itself: the database is away", name)
            finally:
                connection.close()
            if ended.wait(HEARTBEAT_SECONDS):
                break
        if worker is not None:
            Worker.objects.filter(pk=worker.pk, process=worker.process).delete()
            connection.close()

    thread = threading.Thread(target=beat, name="announcing", daemon=True)
    thread.start()
    return thread


def devices() -> list[dict[str, Any]]:
    """The machine's GPUs as its driver names them, and its processor; memory in bytes."""
    cores, memory = psutil.cpu_count() or 1, psutil.virtual_memory().total
    return [*gpus(), {"kind": "cpu", "name": f"{platform.machine()} × {cores}", "memory": memory}]


def gpus() -> list[dict[str, Any]]:
    """Asks nvidia-smi, so that the worker needs no torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi does not answer: %s", error)
        return []
    return list(read_gpus(said.splitlines()))


def read_gpus(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    """What nvidia-smi lists, a device a line: name, MiB of memory (or "[N/A]" where it shares the machine's)."""
    for name, memory in csv.reader(lines, skipinitialspace=True):
        size = int(memory) * 1024**2 if memory.isdecimal() else None
        yield {"kind": "cuda", "name": name, "memory": size}


def versions() -> dict[str, str]:
    """Python and the training libraries of this interpreter; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def load() -> dict[str, float]:
    """How busy the machine is, in percent, since the last look."""
    return {"cpu": psutil.cpu_percent(), "memory": psutil.virtual_memory().percent}
