"""Killed, stopped, finished, started twice: the same directory always ends in the same weights."""

from __future__ import annotations

import json
import shutil
import signal
from typing import Any

import pytest
from filelock import FileLock

from tests.training.runs import ROWS, Run, copy_of, interrupt, killed_after, train, train_by_command

pytestmark = pytest.mark.training

# 24 rows of which two are joined: 11 or 12 steps an epoch. A checkpoint at each 5th step lies across epochs
# and log intervals.
VALUES: dict[str, Any] = {
    "epoch": 4,
    "batchSize": 2,
    "learningRate": 1e-3,
    "maxSeqLen": 128,
    "loggingSteps": 2,
}
VALUES |= {"saveStep": 5, "checkpointCount": 2, "validationStep": 10, "pseudoSamplingProb": 0.2}


@pytest.fixture(scope="module")
def runs(new_run) -> dict[str, Run]:
    """Uninterrupted runs, and copies that were interrupted and then finished, in as few processes as can be."""
    whole = new_run("llama", eval_rows=ROWS[:6], **VALUES)
    whole_lora = new_run("llama", "LoRA", ROWS, ROWS[:6], loraDropout=0.3, **VALUES)
    killed, stopped = copy_of(whole), copy_of(whole_lora)
    assert interrupt(killed, 12, signal.SIGKILL) == -signal.SIGKILL
    assert interrupt(stopped, 12, signal.SIGTERM) == 0
    half_written = max((killed.path / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    shutil.copytree(half_written, killed.path / "checkpoints" / "checkpoint-1000")
    assert not killed.all("done") and not stopped.all("done")
    stopping = {"earlyStopping": "True", "earlyStoppingThreshold": 100, "earlyStoppingPatience": 2}
    early = new_run("llama", eval_rows=ROWS[:6], **{**VALUES, **stopping})
    process = train(whole, whole_lora, killed, stopped, early)
    assert process.returncode == 0, process.stderr[-3000:]
    return {"whole": whole, "whole lora": whole_lora, "killed": killed, "stopped": stopped, "early": early}


def output(run: Run) -> bytes:
    (file,) = (run.path / "output").glob("*.safetensors")
    return file.read_bytes()


def last_step(run: Run) -> int:
    return run.last("done")["step"]


@pytest.mark.parametrize(("name", "twin"), [("killed", "whole"), ("stopped", "whole lora")])
def test_resumed_run_ends_with_the_same_weights(runs, name, twin):
    assert output(runs[name]) == output(runs[twin])
    step = last_step(runs[twin])
    assert runs[name].metric("eval_loss")[step] == runs[twin].metric("eval_loss")[step]


@pytest.mark.parametrize("method", ["FullFineTuning", "LoRA"])
def test_a_mixture_of_experts_resumes_with_its_experts(new_run, method):
    """In files they lie one by one under other names than in memory, where they are stacked."""
    few = {"batchSize": 8, "learningRate": 1e-3, "maxSeqLen": 128, "saveStep": 2, "checkpointCount": 3}
    whole = new_run("mixtral", method, **few, **({"loraAllLinear": "True"} if method == "LoRA" else {}))
    assert train(whole).returncode == 0
    killed = killed_after(whole, 2)
    assert train(killed).returncode == 0
    assert killed.last("start")["resumed_from"] == 2 and output(killed) == output(whole)


def test_killed_run_logs_the_same_values_after_it_resumed(runs):
    resumed_from = runs["killed"].last("start")["resumed_from"]
    assert 10 <= resumed_from < last_step(runs["whole"]), (
        "the newest whole checkpoint, not the half-written one"
    )
    for name in ("loss", "learning_rate", "grad_norm", "eval_loss"):
        assert runs["killed"].metric(name) == runs["whole"].metric(name)


def test_stop_writes_a_checkpoint_and_says_so(runs):
    stopped = runs["stopped"].last("stopped")
    assert 12 <= stopped["step"] == stopped["checkpoint"] < last_step(runs["stopped"])
    assert stopped["step"] in [event["step"] for event in runs["stopped"].all("checkpoint")]
    assert runs["stopped"].last("start")["resumed_from"] == stopped["step"]


def test_events_agree_with_the_checkpoints_on_disk(runs):
    for run in runs.values():
        kept = {event["step"] for event in run.all("checkpoint")}
        kept -= {event["step"] for event in run.all("checkpoint_removed")}
        assert {f"checkpoint-{step}" for step in kept} == {
            p.name for p in (run.path / "checkpoints").iterdir()
        }
        assert max(kept) == last_step(run) == run.last("progress")["step"] and len(kept) == 2


def test_finished_run_is_left_alone(runs):
    before = (runs["whole"].path / "events.jsonl").read_bytes()
    process = train_by_command(runs["whole"])
    assert process.returncode == 0
    assert (runs["whole"].path / "events.jsonl").read_bytes() == before


def test_killed_while_saving_saves_without_training(runs):
    """The checkpoint of the last step is there, the output not yet: after all steps, and after an early stop."""
    copies = {name: copy_of(runs[name]) for name in ("whole", "early")}
    for run in copies.values():
        shutil.rmtree(run.path / "output")
        events = (run.path / "events.jsonl").read_text().splitlines(keepends=True)
        (run.path / "events.jsonl").write_text("".join(events[:-2]))  # without `saving` and `done`
    assert train(*copies.values()).returncode == 0
    for name, run in copies.items():
        assert run.last("start")["resumed_from"] == run.last("done")["step"] == last_step(runs[name])
        assert run.last("done")["early_stopped"] == (name == "early")
        assert output(run) == output(runs[name])


def without_evaluation(run: Run, step: int) -> Run:
    """As a stop right after that step would have left it: the checkpoint, but not the evaluation that was due."""
    twin = killed_after(run, step)
    path = twin.path / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json"
    state = json.loads(path.read_text())
    log = [entry for entry in state["log_history"] if entry["step"] < step or "eval_loss" not in entry]
    assert len(log) == len(state["log_history"]) - 1
    path.write_text(json.dumps(state | {"log_history": log}))
    return twin


def test_an_evaluation_that_a_stop_left_out_is_made_up_for(runs, new_run):
    """Also where it is the one that ends the run early."""
    whole = new_run(
        "llama", "LoRA", ROWS, ROWS[:6], loraDropout=0.3, **VALUES | {"epoch": 1, "validationStep": 5}
    )
    assert train(whole).returncode == 0
    early = runs["early"]
    twins = {"whole": without_evaluation(whole, 10), "early": without_evaluation(early, last_step(early))}
    assert train(*twins.values()).returncode == 0
    for name, run in (("whole", whole), ("early", early)):
        twin = twins[name]
        step = twin.last("start")["resumed_from"]
        assert twin.metric("eval_loss")[step] == run.metric("eval_loss")[step]
        assert (output(twin), last_step(twin)) == (output(run), last_step(run))
        assert twin.last("done")["early_stopped"] == (name == "early")


def test_second_trainer_on_a_directory_gives_way(new_run):
    run = new_run("llama")
    with FileLock(run.path / "trainer.lock"):
        assert train_by_command(run).returncode == 75
    assert run.events == []
