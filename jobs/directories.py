"""Which directory of a run counts. Machines may share RUNS_DIR, or have one each; then a run that another machine
takes over begins anew there, and what the first one still holds of it is worth nothing any more.

A directory bears a mark, and the run names the mark of the one that counts: a machine that comes back after its run
was given away finds another mark, and neither trains, reads nor publishes what lies there.
"""

from __future__ import annotations

import secrets
import shutil
import socket
from datetime import timedelta
from pathlib import Path

import psutil
from django.utils import timezone

from jobs import launch, lifecycle
from jobs.models import Checkpoint, Metric, Run
from jobs.run_files import run_directory

MARK_NAME = "mark"
# How long a finished run waits to be published by the machine that has its output.
PATIENCE = timedelta(days=1)
# A killed trainer is gone sooner than that, unless the system waits for its disk.
KILL_SECONDS = 10


def mark_of(directory: Path) -> str:
    """What a directory was marked with; empty for one that is not there or was never marked."""
    try:
        return (directory / MARK_NAME).read_text().strip()
    except FileNotFoundError:
        return ""


def is_here(run: Run) -> bool:
    """Whether this machine has the directory that counts, as far as anybody knows."""
    return not run.directory_mark or mark_of(run_directory(run)) == run.directory_mark


def is_waited_for(run: Run) -> bool:
    """Whether another machine may still come and publish what a finished run has left there."""
    since = run.finished_at or run.created_at
    return not is_here(run) and timezone.now() - since < PATIENCE


def adopt(run: Run) -> None:
    """Makes this machine's directory of a leased run the one that counts, before anything in it is read.

    Where another one counted, the run begins anew: its metrics and checkpoints are those of files that are not here.
    Raises LeaseLost. A kill at any point leaves a mark that does not match, and the next call begins again.
    """
    directory = run_directory(run)
    here = mark_of(directory)
    if run.directory_mark and here == run.directory_mark:
        return
    begins_anew = bool(run.directory_mark)
    if begins_anew:
        _clear(directory)
    if begins_anew or not here:
        here = _mark(directory)
    with lifecycle.leased(run) as current:
        current.directory_mark = here
        if begins_anew:
            _forget(current)
        current.save()
    run.refresh_from_db()


def _mark(directory: Path) -> str:
    mark = secrets.token_hex(8)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARK_NAME).write_text(f"{mark}\n")
    return mark


def _clear(directory: Path) -> None:
    """Removes what an earlier turn left on this machine, its trainer first."""
    psutil.wait_procs(launch.kill_trainers(directory), timeout=KILL_SECONDS)
    shutil.rmtree(directory, ignore_errors=True)


def _forget(run: Run) -> None:
    """What the database knows from the files of another machine."""
    Metric.objects.filter(run=run).delete()
    Checkpoint.objects.filter(run=run).delete()
    run.events_offset = run.step = 0
    run.total_steps = run.eta_seconds = None
    run.epoch, run.phase = 0, ""
    run.resolved, run.summary = {}, {}
    lifecycle.note(run, "began_anew", host=socket.gethostname())
