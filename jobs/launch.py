"""From a run in the database to a trainer process: the run directory, its data, its spec, the process.

The directory is the whole interface: `python -m jobs.training DIRECTORY` by hand does the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from filelock import FileLock, Timeout

from catalog.models import OfferedHyperparameter
from jobs import devices
from jobs.models import Run
from jobs.run_data import write_data
from jobs.run_files import LOG_NAME, result_directory, run_directory
from jobs.training.spec import FILE_NAME, LOCK_NAME, PID_NAME, Base, Data, Setting, Spec, write_spec
from jobs.training.trainers import Trainer, trainer_for
from jobs.weights import WeightsUnavailable, local_weights

# The argument that makes a trainer wait for its run (jobs/warm.py).
WARM = "--warm"
PRIVATE = re.compile(
    r"^(DJANGO|DATABASE|REDIS|STORAGE|CELERY|AWS|EMAIL)_|SECRET|PASSWORD|CREDENTIAL|TOKEN(?!IZERS)|_KEY$"
)


def prepare(run: Run) -> Path:
    """Writes data and spec into the run directory and returns it; repeatable after a kill at any point.

    Raises WeightsUnavailable if the weights to start from cannot be had.
    """
    directory = run_directory(run)
    directory.mkdir(parents=True, exist_ok=True)
    weights = _base_weights(run)
    data = write_data(run, directory)
    has_eval = (data / "eval.jsonl").stat().st_size > 0
    write_spec(
        directory / FILE_NAME,
        Spec(
            schema=1,
            run=run.uid,
            attempt=run.attempt + 1,
            trainer=trainer_of(run).module,
            method=run.method,
            base=Base(
                name=run.base_model.name,
                path=str(weights),
                trust_remote_code=run.base_model.trust_remote_code,
            ),
            data=Data(train="data/train.jsonl", eval="data/eval.jsonl" if has_eval else None),
            hyperparameters=_settings(run),
            device=settings.TRAINER_DEVICE,  # type: ignore[arg-type]
            threads=settings.TRAINER_THREADS or None,
            processes=run.devices,
        ),
    )
    return directory


def trainer_of(run: Run) -> Trainer:
    """The line of the trainers' table that trains a run."""
    trainer = trainer_for(run.job.model_type, run.method)
    if trainer is None:  # jobs.configuration lets no such run start
        raise ValueError(f"{run} cannot be trained: there is no {run.method} for {run.job.model_type}.")
    return trainer


def _base_weights(run: Run) -> Path:
    """The directory of the weights to start from: the base run's result or checkpoint, else the base model's."""
    if run.base_run is None:
        return local_weights(run.base_model)
    directory = result_directory(run.base_run, run.base_step)
    if not directory.is_dir():
        raise WeightsUnavailable(
            "base_run_missing",
            f"The weights of the base run {run.base_run} are no longer on this machine ({directory}).",
            run=str(run.base_run),
            path=str(directory),
        )
    return directory


def _settings(run: Run) -> dict[str, Setting]:
    """The run's hyperparameters, each with who chose it: the user, or the offer's default."""
    offered = OfferedHyperparameter.objects.filter(offer__base_model=run.base_model, offer__method=run.method)
    defaults: dict[str, Any] = {item.key: item.default for item in offered}
    return {
        key: Setting(value=value, origin="offer" if key in defaults and defaults[key] == value else "user")
        for key, value in run.hyperparameters.items()
    }


def python() -> str:
    """The interpreter that has the training libraries."""
    return settings.TRAINER_PYTHON or sys.executable


def trainer_environment() -> dict[str, str]:
    """This process's environment without what only the console is to know: the trainer knows no Django, and gets
    no secret and no address that may hold one."""
    environment = {name: value for name, value in os.environ.items() if not PRIVATE.search(name)}
    environment["PYTHONUNBUFFERED"] = "1"
    environment["TRAINER_TOKENS"] = str(settings.TOKENS_DIR)
    if settings.TRAINER_THREADS:
        environment["OMP_NUM_THREADS"] = str(settings.TRAINER_THREADS)  # read when torch is loaded
    return environment


def start_trainer(directory: Path, held: list[str] | None = None) -> subprocess.Popen[bytes]:
    """Starts the trainer as the leader of its own process group, its output appended to train.log; it sees the GPUs
    that are `held` and no others (all if there are none).

    It outlives a worker that is killed: the next worker finds it by its lock and goes on following it.
    """
    with (directory / LOG_NAME).open("ab") as log:
        return subprocess.Popen(
            [python(), "-m", "jobs.training", str(directory)],
            cwd=settings.BASE_DIR,
            env=trainer_environment() | devices.environment(held or []),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def is_training(directory: Path) -> bool:
    """True while a trainer holds the directory's lock, whoever started it."""
    if not directory.exists():
        return False
    lock = FileLock(directory / LOCK_NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def find_trainer_processes(directory: Path) -> list[psutil.Process]:
    """The trainer processes of a run directory on this machine: by their command line, or, for one that had been
    waiting for a run, by the number that it wrote into the directory."""
    command = ["-m", "jobs.training", str(directory)]
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[1:4] == command or _was_warm(process, directory)
    ]


def kill_trainers(directory: Path) -> list[psutil.Process]:
    """Kills the trainer processes of a run directory on this machine, and returns them."""
    trainers = find_trainer_processes(directory)
    for process in trainers:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return trainers


def _was_warm(process: psutil.Process, directory: Path) -> bool:
    if (process.info["cmdline"] or [])[1:4] != ["-m", "jobs.training", WARM]:
        return False
    path = directory / PID_NAME
    try:
        return path.read_text() == f"{process.pid}\n" and process.create_time() < path.stat().st_mtime
    except (OSError, psutil.NoSuchProcess):
        return False
