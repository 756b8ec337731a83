"""Carries out one claimed run: prepares its directory, starts the trainer or finds it running, follows it."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil
from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections

from console.disks import is_full
from console.logs import about_run
from jobs import directories, launch, lifecycle, progress, warm
from jobs.lifecycle import LeaseLost
from jobs.models import Run, RunState
from jobs.run_data import DataUnavailable, mix_report
from jobs.training.events import FILE_NAME, Event, read_events
from jobs.weights import WeightsUnavailable

logger = logging.getLogger(__name__)

# A page shows what happened within two seconds; the rest is the page's own poll.
POLL_SECONDS = 0.5
# Before the first step, which people wait for.
FIRST_POLL_SECONDS = 0.1
# Of events.jsonl, to find the last event.
TAIL_BYTES = 64 * 1024
# With less than that free on the disk of its directory a trainer cannot even say why it ends.
NO_ROOM_BYTES = 8 * 1024**2
# Exit status of a trainer that found another one in its directory (jobs/training/__main__.py).
LOCKED = 75
# Set when this worker is told to end: its trainers save and their runs go back to the queue.
shutting_down = threading.Event()


def carry_out(run: Run) -> None:
    """Follows a run that `lifecycle.claim_next` gave us until it ends, is released, or is lost to another."""
    with about_run(run.uid), lifecycle.heartbeat(run) as lost:
        try:
            _Follower(run, lost).follow()
        except LeaseLost:
            logger.warning("%s was taken over by another worker", run.uid)
            end_stray_trainer(run)
        except (WeightsUnavailable, DataUnavailable) as problem:
            failure = {"code": problem.code, "params": problem.params, "message": problem.message}
            lifecycle.finish(run, RunState.FAILED, failure)
        except (OperationalError, InterfaceError):
            # The lease runs out, and whoever takes the run then finds its directory as it is.
            logger.exception("%s: the database is away; the run is left to the next worker", run.uid)
        except OSError as error:
            logger.exception("%s could not be carried out", run.uid)
            failure = {"params": {"path": error.filename}, "message": str(error)}
            if is_full(error):
                lifecycle.rest(run, {"code": "disk_full", **failure})
            else:
                lifecycle.finish(run, RunState.FAILED, {"code": "unexpected", **failure})
        except Exception as error:
            logger.exception("%s could not be carried out", run.uid)
            failure = {"code": "unexpected", "params": {}, "message": f"{type(error).__name__}: {error}"}
            lifecycle.finish(run, RunState.FAILED, failure)


def last_event(path: Path) -> Event | None:
    """The last complete event of a run; None where there is none (or one longer than 64 KiB, which no end is)."""
    try:
        with path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES)
            file.seek(start)
            data = file.read()
    except FileNotFoundError:
        return None
    lines = data[: data.rfind(b"\n") + 1].splitlines()[int(start > 0) :]
    return msgspec.json.decode(lines[-1]) if lines else None


def _is_end(event: Event) -> bool:
    """Whether nothing comes after this event. What stopped, or had no room on the disk, goes on."""
    return event["type"] == "done" or (event["type"] == "failed" and event["code"] != "disk_full")


def _reason(event: Event) -> dict[str, Any]:
    """Why a trainer gave up, as `Run.failure` keeps it."""
    return {key: event[key] for key in ("code", "params", "message")}


def end_stray_trainer(run: Run) -> None:
    """Kills the trainer of a run that this machine lost: to another machine, which trains it in a directory of its
    own or waits for the lock of this one, or because it is over. A worker of this machine goes on with it instead.
    """
    held = Run.objects.filter(pk=run.pk, state=RunState.RUNNING).values_list("follower", flat=True).first()
    if held is not None and lifecycle.is_here(held):
        return
    launch.kill_trainers(launch.run_directory(run))


class _Follower:
    """One run and its trainer, seen from the worker."""

    def __init__(self, run: Run, lost: threading.Event) -> None:
        self.run, self.lost = run, lost
        self.directory = launch.run_directory(run)
        self.process: subprocess.Popen[bytes] | warm.Fork | None = None
        self.asked_to_stop = False
        self.terminal: Event | None = None

    def follow(self) -> None:
        """Reads events until the trainer is gone, then settles what became of the run."""
        directories.adopt(self.run)
        if not launch.is_training(self.directory):
            self._read_events()  # what the last trainer still wrote before it ended
            # A follower that was killed between storing the end and settling it left that to this one; one that
            # had saved and stopped goes on.
            past = last_event(self.directory / FILE_NAME)
            if self.terminal is None and past is not None and _is_end(past):
                self.terminal = past
            if self.terminal is None:
                self._start()
        while self._is_alive():
            self._wait()
            self._read_events()
            self._ask_to_stop_if_wanted()
        self._read_events()
        past = last_event(self.directory / FILE_NAME)
        if self.terminal is None and past is not None and past["type"] in progress.TERMINAL_EVENTS:
            # Stored by the follower before this one, if the trainer it started wrote it.
            self.terminal = past if past["attempt"] == self.run.attempt else None
        self._settle()

    def _start(self) -> None:
        if self._is_to_end():
            return
        directory = launch.prepare(self.run)
        with lifecycle.leased(self.run) as current:
            current.attempt += 1
            current.phase = "starting"
            current.summary = {**current.summary, **mix_report(directory)}
            current.save(update_fields=["attempt", "phase", "summary"])
        self.run.attempt += 1
        held = self.run.held_devices
        self.process = warm.take(directory, held) or launch.start_trainer(directory, held)

    def _is_alive(self) -> bool:
        if self.terminal is not None and self.process is None:
            return False
        if self.process is not None and self.process.poll() == LOCKED:
            # The worker before this one had just started it, and was killed: it is followed instead.
            self.process = None
        if self.process is not None:
            return self.process.poll() is None
        return launch.is_training(self.directory)

    def _wait(self) -> None:
        """Sleeps until the next look, less when the trainer ends first."""
        if self.lost.is_set():
            raise LeaseLost(self.run.uid)
        if self.process is None:
            time.sleep(POLL_SECONDS)
            return
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(POLL_SECONDS if self.run.step else FIRST_POLL_SECONDS)

    def _read_events(self) -> None:
        """Stores what is new; a database that is away for a moment is asked again at the next look."""
        try:
            events, offset = read_events(self.directory / FILE_NAME, self.run.events_offset)
            if events:
                self.terminal = progress.store(self.run, events, offset) or self.terminal
            elif not self.asked_to_stop:
                self.run.refresh_from_db(
                    fields=["stop_requested_at", "preempt_requested_at", "paused_at", "lease"]
                )
        except (OperationalError, InterfaceError) as error:
            logger.warning("%s: the database is away or full: %s", self.run.uid, str(error).strip())
            close_old_connections()

    def _is_to_end(self) -> bool:
        """Somebody stopped or paused the run, or it is to make room for another, or this worker is told to end."""
        wanted = self.run.stop_requested_at or self.run.paused_at or self.run.preempt_requested_at
        return wanted is not None or shutting_down.is_set()

    def _ask_to_stop_if_wanted(self) -> None:
        """SIGTERM, once: the trainer finishes its step, saves a checkpoint and ends."""
        if self.asked_to_stop or not self._is_to_end():
            return
        self.asked_to_stop = True
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            return
        for process in launch.find_trainer_processes(self.directory):
            try:
                process.send_signal(signal.SIGTERM)
            except psutil.NoSuchProcess:
                continue

    def _settle(self) -> None:
        """The trainer is gone: ends the run, or puts it back into the queue to be resumed."""
        kind = self.terminal["type"] if self.terminal else None
        stop_wanted = self.run.stop_requested_at is not None
        if self.terminal and kind == "done":
            lifecycle.finish(self.run, RunState.DONE, seconds=self.terminal["seconds"])
        elif self.terminal and _is_end(self.terminal):
            lifecycle.finish(self.run, RunState.FAILED, _reason(self.terminal))
        elif stop_wanted:
            lifecycle.finish(self.run, RunState.STOPPED, step=self.run.step)
        elif self.terminal and kind == "failed":
            lifecycle.rest(self.run, _reason(self.terminal))
        elif self.run.paused_at is not None:
            lifecycle.release(self.run, "paused", step=self.run.step)
        elif self.run.preempt_requested_at is not None:
            lifecycle.release(self.run, "preempted", step=self.run.step)
        elif kind == "stopped" or shutting_down.is_set():
            lifecycle.release(self.run, "released", step=self.run.step)
        else:
            self._settle_crash()

    def _settle_crash(self) -> None:
        """A trainer that ended without a word was killed; it is started again a few times, then given up."""
        code = self.process.returncode if self.process else None
        if shutil.disk_usage(self.directory).free < NO_ROOM_BYTES:
            message = "The trainer ended without a word, and the disk is full."
            lifecycle.rest(self.run, {"code": "disk_full", "params": {}, "message": message})
            return
        if self.run.crashes >= settings.MAX_TRAINER_RESTARTS:
            message = f"The trainer was killed {self.run.crashes + 1} times, last at step {self.run.step}."
            params = {"crashes": self.run.crashes + 1, "step": self.run.step, "code": code}
            lifecycle.finish(
                self.run,
                RunState.FAILED,
                {"code": "trainer_died", "params": params, "message": message},
            )
            return
        with lifecycle.leased(self.run) as current:
            current.crashes += 1
            current.save(update_fields=["crashes"])
        lifecycle.release(self.run, "restarted", step=self.run.step, code=code)
