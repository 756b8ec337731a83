"""The processes of the embedded console, kept running by supervisord: a killed one is started again."""

from __future__ import annotations

import configparser
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings


@dataclass(frozen=True)
class Program:
    """One process. `order` says which start first; `stop_seconds` is how long it may take to end."""

    name: str
    command: list[str]
    order: int = 100
    stop_seconds: int = 10
    user: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


SERVING_PORT = 8100


def serving_arguments(bind: str) -> list[str]:
    """What Python is given for the program that serves models. One process, because it owns the models; its threads
    wait for them."""
    return [
        *("-m", "gunicorn", "catalog.serving_app:application", "--bind", bind),
        *("--workers", "1", "--worker-class", "gthread", "--threads", "32", "--timeout", "0"),
        *("--log-level", "warning"),
    ]


def console_programs(host: str, port: int, serving_bind: str = "") -> list[Program]:
    """Web, the two Celery workers, beat, and what serves models; they read DATABASE_URL, REDIS_URL and SERVING_URL
    from the environment."""
    python = sys.executable
    celery = [python, "-m", "celery", "-A", "console"]
    return [
        Program(
            "web",
            [
                *(python, "-m", "gunicorn", "console.wsgi", "--bind", f"{host}:{port}"),
                *("--workers", "2", "--worker-class", "gthread", "--threads", "8", "--log-level", "warning"),
            ],
        ),
        # Imports and other short work.
        Program(
            "worker", [*celery, "worker", "-Q", "default", "-c", "2", "-n", "worker@%%h", "-l", "warning"]
        ),
        # One thread follows one run; the training itself is a process of its own.
        Program(
            "trainer",
            [
                *(*celery, "worker", "-Q", "training", "-n", "trainer@%%h", "-l", "warning"),
                *("-P", "threads", "-c", str(settings.TRAINING_SLOTS)),
            ],
            stop_seconds=60,
        ),
        Program("beat", [*celery, "beat", "-l", "warning", "--pidfile="]),
        Program("serving", [python, *serving_arguments(serving_bind or f"{host}:{SERVING_PORT}")]),
    ]


def write_configuration(path: Path, programs: list[Program]) -> None:
    """Writes supervisord's configuration; every program has a log of its own beside it, in log/."""
    logs = path.parent / "log"
    logs.mkdir(exist_ok=True)
    config = configparser.RawConfigParser()
    config["supervisord"] = {
        "nodaemon": "true",
        "logfile": str(logs / "supervisord.log"),
        "loglevel": "info",
        "pidfile": str(path.with_suffix(".pid")),
        "silent": "true",
    }
    if os.geteuid() == 0:
        config["supervisord"]["user"] = "root"
    for program in programs:
        section = {
            "command": " ".join(program.command),
            "directory": str(settings.BASE_DIR),
            "priority": str(program.order),
            "autorestart": "true",
            # Each time a second later: what cannot start because a disk is full does once there is room.
            "startretries": "1000000",
            "stopasgroup": "true",
            "killasgroup": "true",
            "stopwaitsecs": str(program.stop_seconds),
            "stdout_logfile": str(logs / f"{program.name}.log"),
            "stdout_logfile_maxbytes": "10MB",
            "stdout_logfile_backups": "2",
            "redirect_stderr": "true",
        }
        if program.user:
            section["user"] = program.user
        config[f"program:{program.name}"] = section
    with path.open("w") as file:
        config.write(file)
