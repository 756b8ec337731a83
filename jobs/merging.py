"""Full weights of a run that trained an adapter, made by a process that has the training libraries."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import psutil
from django.conf import settings

from jobs import launch, warm
from jobs.run_files import LOG_NAME
from jobs.training.spec import FILE_NAME, read_spec

# Left free on the disk, and how much more memory than the weights merging takes.
RESERVE_BYTES = 2 * 1024**3
MEMORY_FACTOR = 1.3


class Interrupted(Exception):
    """The process that merges was told to end, as its worker was."""


def merge(directory: Path, target: Path) -> str:
    """Merges the adapter of a run directory into `target` unless it is there or is not wanted; returns why it could
    not be done, empty otherwise. Raises Interrupted.
    """
    if target.is_dir() or settings.PUBLISH_MERGED == "never" or not (directory / FILE_NAME).exists():
        return ""
    base = Path(read_spec(directory).base.path)
    if settings.PUBLISH_MERGED == "auto" and (reason := lacking(base, directory)):
        return reason
    code, said = _in_a_process(["--merge", str(directory), str(target)], directory / LOG_NAME)
    if code in (-signal.SIGTERM, -signal.SIGINT):
        raise Interrupted
    if code == 0:
        return ""
    return said if said and code > 0 else f"The process that merges ended with {code}."


def _in_a_process(arguments: list[str], log: Path) -> tuple[int, str]:
    """Runs `python -m jobs.training ARGUMENTS`, forked by a warm process if there is one, its output appended to
    `log`; returns the exit code and the last line that it said.
    """
    with log.open("ab") as file:
        before = file.seek(0, os.SEEK_END)
        process = warm.carry_out(arguments, log) or subprocess.Popen(
            [launch.python(), "-m", "jobs.training", *arguments],
            cwd=settings.BASE_DIR,
            env=launch.trainer_environment(),
            stdout=file,
            stderr=file,
        )
    code = process.wait()
    with log.open(errors="replace") as text:
        text.seek(before)
        said = text.read().strip().splitlines()
    return code, said[-1] if said else ""


def lacking(base: Path, directory: Path) -> str:
    """Why disk or memory do not suffice to merge into the weights of `base`; empty where they do."""
    size = sum(path.stat().st_size for path in base.rglob("*.safetensors"))
    free = shutil.disk_usage(directory).free
    if free < 2 * size + RESERVE_BYTES:  # once beside the run, once in the storage
        return f"Merged weights take twice {size / 1e9:.1f} GB on the disk, and {free / 1e9:.1f} GB are free."
    memory = psutil.virtual_memory().available
    if memory < MEMORY_FACTOR * size:
        return f"Merging takes {MEMORY_FACTOR * size / 1e9:.1f} GB of memory, and {memory / 1e9:.1f} GB are free."
    return ""
