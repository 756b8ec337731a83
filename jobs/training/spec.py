"""`spec.json`: everything that determines a run, written by the console or by hand, checked here.

Imports nothing heavy, so the console uses the same classes to write it.
"""

import os
from pathlib import Path
from typing import Literal

import msgspec

from jobs.training.events import TrainingFailure
from jobs.training.parameters import check
from jobs.training.trainers import find_trainer

FILE_NAME = "spec.json"
LOCK_NAME = "trainer.lock"  # held by whoever trains; others may hold it for a moment to look
PID_NAME = "trainer.pid"  # the process that last got the lock to train

Value = int | float | str | list[str]
Origin = Literal["offer", "user", "base_run", "trainer"]


class SpecError(TrainingFailure):
    """The spec cannot be run as it stands; the message names the file and the field."""

    def __init__(self, message: str, **params: str) -> None:
        super().__init__("spec_invalid", message, **params)


class Setting(msgspec.Struct, forbid_unknown_fields=True):
    """A hyperparameter's value and who chose it."""

    value: Value
    origin: Origin


class Base(msgspec.Struct, forbid_unknown_fields=True):
    """The weights to start from: `path` is a directory with config.json, safetensors and a tokenizer."""

    name: str
    path: str
    trust_remote_code: bool = False


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """JSON Lines of canonical rows; relative paths are relative to the run directory."""

    train: str
    eval: str | None = None


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """One run. `attempt` counts the starts of its directory from 1; `threads` null lets the trainer choose."""

    schema: Literal[1]
    run: str
    attempt: int
    trainer: str
    method: str
    base: Base
    data: Data
    hyperparameters: dict[str, Setting]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    processes: int = 1  # that train together, each on a device of its own


def read_spec(run_dir: Path) -> Spec:
    """Decode and check `spec.json` of a run directory. Raises SpecError with one sentence."""
    path = run_dir / FILE_NAME
    try:
        spec = msgspec.json.decode(path.read_bytes(), type=Spec)
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist.", path=str(path)) from None
    except msgspec.DecodeError as error:  # also its subclass ValidationError, whose text names the field
        raise SpecError(f"{path} cannot be used: {error}.", path=str(path), reason=str(error)) from None
    check_spec(spec, path)
    return spec


def check_spec(spec: Spec, path: Path) -> None:
    """What types alone cannot say. Raises SpecError for the first problem."""
    trainer = find_trainer(spec.trainer)
    if trainer is None:
        raise SpecError(f"{path} names the trainer {spec.trainer!r}, which does not exist.", path=str(path))
    if spec.method not in trainer.methods:
        raise SpecError(
            f"{path} names the method {spec.method!r}, which the trainer {spec.trainer!r} does not have.",
            path=str(path),
        )
    if spec.processes < 1:
        raise SpecError(f"{path} asks for {spec.processes} processes; at least 1 is needed.", path=str(path))
    if spec.threads is not None and spec.threads < 1:
        raise SpecError(f"{path} asks for {spec.threads} threads; at least 1 is needed.", path=str(path))
    values = {key: setting.value for key, setting in spec.hyperparameters.items()}
    for problem in check(spec.method, values, has_eval=spec.data.eval is not None):
        raise SpecError(f"{path}: {problem.message}", path=str(path), key=problem.key, reason=problem.code)


def write_spec(path: Path, spec: Spec) -> None:
    """Write a spec so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")
    os.replace(temporary, path)  # noqa: PTH105
