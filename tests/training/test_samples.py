"""What the model answers at its checkpoints: the same prompts each time, and nothing else about the run changes."""

from __future__ import annotations

from typing import Any

import pytest

from tests import forks
from tests.training.runs import ROWS, Run, conversation, copy_of

pytestmark = pytest.mark.training

VALUES: dict[str, Any] = {"epoch": 12, "batchSize": 4, "learningRate": 5e-3, "maxSeqLen": 128, "saveStep": 24}
LONG = [conversation("long " * 60, "Short.")] * 6
VALUES |= {"loraDropout": 0.2, "loraAllLinear": "True", "loraRank": 8, "loggingSteps": 1}


@pytest.fixture(scope="module")
def runs(new_run) -> dict[str, Run]:
    """A run with dropout, its twin without samples, and one that has no held-out rows; in one process."""
    answering = new_run("llama", "LoRA", ROWS, ROWS[:6], validationStep=24, **VALUES)
    silent = copy_of(answering)
    alone = new_run("llama", rows=[*ROWS[:2], *LONG], epoch=1, batchSize=4, maxSeqLen=80)
    script = (
        "from jobs.training.__main__ import main\n"
        "from jobs.training import samples\n"
        "samples.FREE = 600\n"  # seconds: on a busy machine all checkpoints answer, too
        f"assert main([{str(answering.path)!r}, {str(alone.path)!r}]) == 0\n"
        "samples.PROMPTS = 0\n"
        f"assert main([{str(silent.path)!r}]) == 0\n"
    )
    process = forks.run(script)
    assert process.returncode == 0, process.stderr[-3000:]
    return {"answering": answering, "silent": silent, "alone": alone}


def test_samples_change_no_number_of_the_run(runs):
    assert runs["silent"].all("sample") == []
    for name in ("loss", "grad_norm", "eval_loss"):
        assert runs["silent"].metric(name) == runs["answering"].metric(name)


def test_held_out_prompts_are_answered_before_training_and_at_each_checkpoint(runs):
    events = runs["answering"].all("sample")
    assert [event["step"] for event in events] == [0] * 3 + [24] * 3 + [48] * 3 + [72] * 3
    asked = [(row["messages"][0]["content"], row["messages"][1]["content"]) for row in ROWS[:3]]
    assert [(event["prompt"], event["reference"]) for event in events[-3:]] == asked
    replies = {event["step"]: event["reply"] for event in events if event["number"] == 1}
    assert replies[0] != replies[72]


def test_with_an_adapter_the_untrained_model_answers_after_the_first_step(runs):
    """The step is not kept waiting, and the replies are those that full training gets before its own."""
    kinds = [event["type"] for event in runs["answering"].events]
    assert kinds.index("metrics") < kinds.index("sample")
    first = {}
    for name in ("answering", "alone"):
        events = [event for event in runs[name].all("sample") if event["step"] == 0]
        first[name] = [event["reply"] for event in events][:2]
    assert len(first["alone"]) == 2 and first["answering"] == first["alone"]


def test_without_held_out_rows_the_first_training_rows_are_asked(runs):
    first = runs["alone"].all("sample")[0]
    assert (first["step"], first["prompt"]) == (0, ROWS[0]["messages"][0]["content"])


def test_prompts_that_leave_no_room_for_a_reply_are_passed_over(runs):
    asked = {event["prompt"] for event in runs["alone"].all("sample")}
    assert asked == {row["messages"][0]["content"] for row in ROWS[:2]}
