"""Rows, run directories and trainer processes for the tests of the trainer.

A trainer is a fork of a process that has loaded the libraries (tests/forks.py), and one works through many run
directories. The command itself is started where it loads no libraries, and in test_failures.py.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.training.checkpoints import step_of
from jobs.training.events import read_events
from tests import forks

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = ("llama", "bloom", "glm", "ernie4_5_moe", "mixtral", "mistral", "baichuan_alibi")
# The root last, as `python -m jobs.training` has it: the library `datasets` before the app.
PRELUDE = (
    f"import sys; sys.path[:] = [p for p in sys.path if p not in ('', {str(ROOT)!r})] + [{str(ROOT)!r}]\n"
)
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
TRAIN = "import sys; from jobs.training.__main__ import main; sys.exit(main(sys.argv[1:]))"


def conversation(*turns: str, system: str = "", weights: dict[int, int] | None = None) -> dict[str, Any]:
    """A canonical row of user and assistant turns in turn; `weights` by index of the turn."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for index, text in enumerate(turns):
        message: dict[str, Any] = {"role": "assistant" if index % 2 else "user", "content": text}
        if weights and index in weights:
            message["weight"] = weights[index]
        messages.append(message)
    return {"messages": messages}


COLOURS = ("red", "green", "blue", "yellow", "black", "white")
THINGS = ("apple", "door", "river", "house", "stone", "cloud", "bird", "book")
ROWS = [
    conversation(f"What colour is the {thing}?", f"The {thing} is {COLOURS[n % 6]}, as far as I know.")
    for n, thing in enumerate(f"{colour} {thing}" for thing in THINGS[:4] for colour in COLOURS)
]


@dataclass(frozen=True)
class Run:
    """A run directory and what the trainer wrote into it."""

    path: Path

    @property
    def events(self) -> list[dict[str, Any]]:
        return read_events(self.path / "events.jsonl")[0]

    def all(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]

    def last(self, type: str) -> dict[str, Any]:
        found = self.all(type)
        assert found, f"no {type} event, but {self.events[-1]}"
        return found[-1]

    def metric(self, name: str) -> dict[int, float]:
        """The values of a metric by step."""
        metrics = self.all("metrics")
        return {event["step"]: event["values"][name] for event in metrics if name in event["values"]}

    def resolved(self, key: str) -> Any:
        return self.last("start")["resolved"][key]["value"]


def make_run(
    path: Path,
    base: Path,
    trainer: str,
    method: str,
    rows: list[dict[str, Any]] | str,
    eval_rows: list[dict[str, Any]] | None = None,
    **values: Any,
) -> Run:
    """A run directory without pictures; rows as they are, or the text of the file."""
    (path / "data").mkdir(parents=True, exist_ok=True)
    for name, content in (("train", rows), ("eval", eval_rows)):
        if content is not None:
            lines = (
                content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
            )
            (path / "data" / f"{name}.jsonl").write_text(lines)
    spec = {
        "schema": 1,
        "run": "task-test",
        "attempt": 1,
        "trainer": trainer,
        "method": method,
        "base": {"name": base.name, "path": str(base)},
        "data": {"train": "data/train.jsonl", "eval": "data/eval.jsonl" if eval_rows else None},
        "hyperparameters": {key: {"value": value, "origin": "user"} for key, value in values.items()},
        "device": "cpu",
        "threads": 1,
    }
    (path / "spec.json").write_text(json.dumps(spec))
    return Run(path)


def command(*runs: Run) -> list[str]:
    return [sys.executable, "-m", "jobs.training", *(str(run.path) for run in runs)]


def train(*runs: Run) -> subprocess.CompletedProcess[str]:
    """Works through the runs in one process and returns it."""
    return forks.run(TRAIN, *(run.path for run in runs))


def train_by_command(*runs: Run) -> subprocess.CompletedProcess[str]:
    """The same by the command that the product uses."""
    return subprocess.run(
        command(*runs), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600, check=False
    )


def interrupt(run: Run, after_step: int, number: signal.Signals) -> int:
    """Starts the run, sends the signal once a step is logged, returns the exit code."""
    trainer = forks.start(TRAIN, run.path)
    deadline = time.monotonic() + 120
    while not any(event["step"] >= after_step for event in run.all("metrics")):
        assert not run.all("done") + run.all("failed"), "the trainer ended before the signal"
        assert time.monotonic() < deadline, "the trainer did not get to the step"
        time.sleep(0.005)
    os.kill(trainer.pid, number)
    return trainer.wait().returncode


def copy_of(run: Run) -> Run:
    """The same directory once more."""
    path = Path(tempfile.mkdtemp(dir=run.path.parent))
    shutil.copytree(run.path, path, dirs_exist_ok=True)
    return Run(path)


def killed_after(run: Run, step: int) -> Run:
    """A copy of a finished run as a kill after the checkpoint of that step would have left it."""
    twin = copy_of(run)
    shutil.rmtree(twin.path / "output")
    (twin.path / "events.jsonl").unlink()
    for checkpoint in (twin.path / "checkpoints").iterdir():
        if step_of(checkpoint) > step:
            shutil.rmtree(checkpoint)
    return twin
