"""DPO, KTO and reward models: what they learn from, what their hyperparameters do, and that they resume."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest

from jobs.training import preferences
from jobs.training.events import TrainingFailure
from jobs.training.rows import read_rows
from tests import forks
from tests.training.runs import ROWS, Run, interrupt, make_run, train

pytestmark = pytest.mark.training

BAD = "I do not know."
ASKED = [(row["messages"][:1], row["messages"][1]["content"]) for row in ROWS[:12]]
PAIRS = [{"messages": question, "chosen": good, "rejected": BAD} for question, good in ASKED]
JUDGED = [
    {"messages": question, "completion": BAD if number % 3 else good, "label": not number % 3}
    for number, (question, good) in enumerate(ASKED)
]
SORTED = [
    {
        "messages": question,
        "responses": [
            {"content": BAD, "score": 0},
            {"content": good, "score": 2},
            {"content": good + " Or not.", "score": 1},
        ],
    }
    for question, good in ASKED[:6]
]
KINDS = {"dpo": ("DPO", PAIRS), "kto": ("KTO", JUDGED), "reward": ("RM", SORTED)}
FEW = {"epoch": 1, "learningRate": 1e-3, "batchSize": 6, "loggingSteps": 1, "schedulerName": "constant"}


@pytest.fixture(scope="module")
def runs(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """All the runs of this file, trained by one process."""

    def make(trainer: str, scale: str = "FullFineTuning", **values: Any) -> Run:
        mode, rows = KINDS[trainer]
        path = tmp_path_factory.mktemp("run")
        return make_run(path, models / "llama", trainer, f"{mode}-{scale}", rows, rows[:4], **FEW | values)

    made = {
        "dpo": make("dpo", epoch=4, validationStep=4),
        "dpo-lora": make("dpo", "LoRA", loraRank=4),
        "beta": make("dpo", dpoBeta=0.4),
        "ipo": make("dpo", lossType="ipo", dpoBeta=0.2),
        "robust": make("dpo", lossType="robust", labelSmoothing=0.1),
        "robuster": make("dpo", lossType="robust", labelSmoothing=0.4),
        "kto": make("kto", epoch=4),
        "kto-weights": make("kto", desirableWeight=3.0, undesirableWeight=0.0),
        "kto-beta": make("kto", ktoBeta=1.0),
        "reward": make("reward", epoch=4),
        "reward-lora": make("reward", "LoRA", loraRank=4),
        "centred": make("reward", centerRewards=1.0),
    }
    train(*made.values())
    return made


def test_every_one_ends_and_leaves_weights(runs: dict[str, Run]) -> None:
    for name, run in runs.items():
        assert run.all("done"), (name, run.events[-1])
        adapter = (run.path / "output" / "adapter_model.safetensors").exists()
        assert adapter == name.endswith("-lora"), name
        assert (run.path / "output" / "tokenizer.json").exists()


@pytest.mark.parametrize(("name", "start"), [("dpo", math.log(2)), ("kto", 0.5)])
def test_the_loss_starts_where_nothing_is_preferred_and_falls(
    runs: dict[str, Run], name: str, start: float
) -> None:
    losses = list(runs[name].metric("loss").values())
    assert losses[0] == pytest.approx(start, abs=1e-4)
    assert losses[-1] < 0.9 * losses[0]


def test_the_chosen_reply_ends_with_the_higher_reward(runs: dict[str, Run]) -> None:
    for name in ("dpo", "kto", "reward"):
        assert list(runs[name].metric("reward_margin").values())[-1] > 0, name
    assert list(runs["dpo"].metric("eval_reward_accuracy").values())[-1] == 1
    assert runs["dpo"].all("sample") and not runs["reward"].all("sample")


def test_a_sorted_row_gives_every_pair_of_which_one_is_better(runs: dict[str, Run]) -> None:
    assert runs["reward"].last("prepared")["rows"] == 3 * len(SORTED)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        # (0 - 1 / (2 · beta))²
        ("ipo", 6.25),
        # Good replies are a third of the rows: 3 · 0.5 for each of them, 0 for the others.
        ("kto-weights", 0.5),
    ],
)
def test_the_first_loss_is_what_the_formula_gives(runs: dict[str, Run], name: str, first: float) -> None:
    assert next(iter(runs[name].metric("loss").values())) == pytest.approx(first, abs=0.01)


@pytest.mark.parametrize(
    ("one", "other"),
    [("dpo", "beta"), ("robust", "robuster"), ("kto", "kto-beta"), ("reward", "centred")],
)
def test_a_hyperparameter_of_the_mode_changes_the_course(runs: dict[str, Run], one: str, other: str) -> None:
    assert runs[one].metric("grad_norm")[1] != pytest.approx(runs[other].metric("grad_norm")[1], rel=1e-3)


LOAD = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
reward, dpo = sys.argv[1:]
scores = AutoModelForSequenceClassification.from_pretrained(reward)
assert scores.config.num_labels == 1
tokenizer = AutoTokenizer.from_pretrained(reward)
def score(text):
    chat = [{"role": "user", "content": "What colour is the red apple?"}, {"role": "assistant", "content": text}]
    ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)
    return scores(**ids).logits[0, 0].item()
assert score("The red apple is red, as far as I know.") > score("I do not know.")
AutoModelForCausalLM.from_pretrained(dpo).generate(torch.tensor([[1, 2]]), max_new_tokens=2)
"""


def test_the_outputs_load_with_transformers(runs: dict[str, Run]) -> None:
    done = forks.run(LOAD, *(runs[name].path / "output" for name in ("reward", "dpo")))
    assert done.returncode == 0, done.stderr


def test_a_killed_run_ends_with_the_losses_of_an_undisturbed_one(models: Path, tmp_path: Path) -> None:
    values = FEW | {"epoch": 4, "batchSize": 2, "saveStep": 4, "validationStep": 0, "checkpointCount": 9}
    killed, twin = (
        make_run(tmp_path / name, models / "llama", "dpo", "DPO-FullFineTuning", PAIRS, **values)
        for name in ("killed", "twin")
    )
    interrupt(killed, 9, signal.SIGKILL)
    train(killed, twin)
    assert killed.last("start")["resumed_from"] in (8, 12, 16, 20)
    for step, loss in twin.metric("loss").items():
        assert killed.metric("loss")[step] == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize(
    ("trainer", "row", "reason"),
    [
        ("dpo", {"messages": ROWS[0]["messages"], "chosen": "a", "rejected": "b"}, "user turn"),
        ("dpo", {"messages": ASKED[0][0], "chosen": "a"}, "empty"),
        ("reward", {"messages": ASKED[0][0], "responses": []}, "two replies"),
    ],
)
def test_a_row_that_cannot_be_compared_is_named(
    tmp_path: Path, trainer: str, row: dict[str, Any], reason: str
) -> None:
    kind = {"dpo": preferences.PreferenceRow, "reward": preferences.RankedRow}[trainer]
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(TrainingFailure, match=f"line 1 .*{reason}"):
        list(read_rows(path, kind))
