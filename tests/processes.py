"""Real processes of the product for tests: Celery workers on the test database, broker and storage."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import connection

from tests import forks

ROOT = Path(__file__).resolve().parent.parent


def environment(**extra: str) -> dict[str, str]:
    """The environment in which another process of the product works on the same data as the test."""
    database = connection.settings_dict
    location = quote(str(database["HOST"]), safe="/")
    storage = settings.STORAGES["default"]["OPTIONS"]["location"]
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "DATABASE_URL": f"postgresql://{database['USER']}@/{database['NAME']}?host={location}",
        "STORAGE_URL": f"file://{storage}",
        "RUNS_DIR": str(settings.RUNS_DIR),
        "WEIGHTS_DIR": str(settings.WEIGHTS_DIR),
        "LEASE_SECONDS": "5",
        "TRAINER_WARM": "0",
        "TRAINER_PYTHON": forks.trainer_python(),
        "PUBLISH_MERGED": "never",  # it takes a process with the training libraries for every adapter
        **extra,
    }


class Worker:
    """A Celery worker on the given queues, in a process group of its own; its log goes to a file."""

    def __init__(self, log: Path, queues: str = "training", **extra: str) -> None:
        self.log = log
        command = [sys.executable, "-m", "celery", "-A", "console", "worker", "-Q", queues]
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [*command, "-P", "threads", "-c", "1", "-l", "info", "--without-gossip", "--without-mingle"],
                cwd=ROOT,
                env=environment(**extra),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """kill -9, as the out-of-memory killer or a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM and wait: a deployment."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


def wait_for(condition: Callable[[], object], seconds: float = 90) -> None:
    """Waits until the condition holds; fails the test after that many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
