"""Two processes train as one does: same losses, one set of events, one stop for both."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

from tests.training.runs import ENVIRONMENT, ROOT, ROWS, Run, command, copy_of, interrupt, train

pytestmark = pytest.mark.training

VALUES: dict[str, Any] = {"epoch": 3, "batchSize": 4, "learningRate": 1e-3, "maxSeqLen": 128, "saveStep": 6}
VALUES |= {"validationStep": 6, "loggingSteps": 1}


def shared(run: Run) -> Run:
    """The same run for two processes."""
    twin = copy_of(run)
    spec = json.loads((twin.path / "spec.json").read_text())
    (twin.path / "spec.json").write_text(json.dumps(spec | {"processes": 2}))
    return twin


@pytest.fixture(scope="module")
def runs(new_run) -> dict[str, Run]:
    """One that a single process trains, one that two do, one that two do and that was stopped on the way."""
    alone = new_run("llama", "FullFineTuning", ROWS, ROWS[:8], **VALUES)
    together, stopped = shared(alone), shared(alone)
    assert interrupt(stopped, 3, signal.SIGTERM) == 0
    process = train(alone, together, stopped)
    assert process.returncode == 0, process.stderr[-3000:]
    return {"alone": alone, "together": together, "stopped": stopped}


@pytest.mark.parametrize("name", ["together", "stopped"])
def test_two_processes_have_the_losses_of_one(runs, name):
    for metric in ("loss", "eval_loss", "grad_norm"):
        assert runs[name].metric(metric) == pytest.approx(runs["alone"].metric(metric), rel=1e-4)


def test_one_of_them_reports(runs):
    together = runs["together"]
    assert len(together.all("start")) == len(together.all("done")) == 1
    assert together.last("done")["step"] == runs["alone"].last("done")["step"] == 18
    assert [event["step"] for event in together.all("checkpoint")] == [6, 12, 18]
    assert (together.path / "output" / "model.safetensors").exists()


def test_a_stop_reaches_all_and_the_run_resumes(runs):
    stopped = runs["stopped"].last("stopped")
    assert 3 <= stopped["step"] == stopped["checkpoint"] < 18
    assert runs["stopped"].last("start")["resumed_from"] == stopped["step"]


def test_one_that_fails_ends_the_others(runs):
    broken = copy_of(runs["together"])
    spec = json.loads((broken.path / "spec.json").read_text())
    (broken.path / "spec.json").write_text(json.dumps(spec | {"base": spec["base"] | {"path": "/nowhere"}}))
    (broken.path / "events.jsonl").unlink()
    process = subprocess.run(
        command(broken), cwd=ROOT, env=ENVIRONMENT, capture_output=True, timeout=120, check=False
    )
    assert process.returncode == 1
    assert [event["code"] for event in broken.all("failed")] == ["weights_missing"]
