"""Every trainer divides its batch among several processes and has the losses of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import forks
from tests.training.picture_runs import WORDS, caption, new_run, question
from tests.training.runs import ROWS, Run, make_run
from tests.training.test_preferences import JUDGED, PAIRS, SORTED
from tests.training.test_ranks import shared

pytestmark = pytest.mark.training

VALUES = {"epoch": 1, "batchSize": 4, "learningRate": 1e-3, "loggingSteps": 1, "validationStep": 3}

# One process, then two ranks; each a fork of one that has loaded the libraries.
SCRIPT = """
import os, socket, sys
from jobs.training.__main__ import main

def ended(*children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

def trained(directory, **environment):
    pid = os.fork()
    if pid == 0:
        os.environ |= environment
        os._exit(main([directory]))
    return pid

alone, together = sys.argv[1:]
assert ended(trained(alone)) == [0]
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = str(probe.getsockname()[1])
shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
ranks = [trained(together, RANK=str(number), LOCAL_RANK=str(number), **shared) for number in range(2)]
assert ended(*ranks) == [0, 0]
"""


@pytest.fixture(name="new_text_run")
def _new_text_run(request: pytest.FixtureRequest) -> Callable[..., Run]:
    """The fixture `new_run`, which has the name of a function here."""
    return request.getfixturevalue("new_run")


def trained_both_ways(run: Run) -> tuple[Run, Run]:
    """The run by one process, and a copy of it by two."""
    twin = shared(run)
    process = forks.run(SCRIPT, run.path, twin.path)
    assert process.returncode == 0, process.stderr[-3000:]
    return run, twin


def assert_the_same(alone: Run, together: Run) -> None:
    assert together.last("start")["distribution"] == "DDP × 2"
    for metric in ("loss", "eval_loss", "grad_norm"):
        assert together.metric(metric) == pytest.approx(alone.metric(metric), rel=1e-4)
    for kind in ("checkpoint", "done"):
        assert len(together.all(kind)) == len(alone.all(kind))
    assert len(together.all("done")) == 1 and bool(together.all("sample")) == bool(alone.all("sample"))
    assert {path.name for path in (together.path / "output").iterdir()} == {
        path.name for path in (alone.path / "output").iterdir()
    }


@pytest.mark.parametrize(
    ("trainer", "method", "rows"),
    [("dpo", "DPO-LoRA", PAIRS), ("kto", "KTO-FullFineTuning", JUDGED), ("reward", "RM-LoRA", SORTED[:4])],
)
def test_preferences(models: Path, tmp_path: Path, trainer: str, method: str, rows: list[dict]) -> None:
    run = make_run(tmp_path / "run", models / "llama", trainer, method, rows, rows[:4], **VALUES)
    assert_the_same(*trained_both_ways(run))


def test_texts_of_like_length(new_text_run: Callable[..., Run]) -> None:
    few = {"batchSize": 2, "loggingSteps": 8}
    run = new_text_run("llama", "LoRA", ROWS * 6, ROWS[:4], **VALUES | few | {"validationStep": 36})
    assert_the_same(*trained_both_ways(run))


def test_seeing(picture_models: Path, tmp_path: Path) -> None:
    rows = [question(*words) for words in WORDS]
    run = new_run(tmp_path / "run", picture_models / "llava_next", "vision", "LoRA", rows, rows[:4], **VALUES)
    assert_the_same(*trained_both_ways(run))


def test_drawing(picture_models: Path, tmp_path: Path) -> None:
    """Each row meets the same noise at the same step, whichever process has it."""
    rows = [caption(*words) for words in WORDS]
    run = new_run(tmp_path / "run", picture_models / "sdxl", "image", "LoRA", rows, rows[:4], **VALUES)
    assert_the_same(*trained_both_ways(run))
