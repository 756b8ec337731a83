"""The table of hyperparameters and its checks; no training library is needed for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from jobs.training.parameters import PARAMETERS, check, check_value
from tests.training.runs import ROOT

FULL, LORA = "FullFineTuning", "LoRA"


@pytest.mark.parametrize("entry", PARAMETERS.values(), ids=PARAMETERS.keys())
def test_default_is_a_legal_value_or_says_who_decides(entry):
    if entry.default is None:
        assert entry.decided
    else:
        assert check_value(entry, entry.default) is None
    assert entry.meaning.endswith(".") and "." in entry.target
    assert bool(entry.choices) == entry.kind.startswith("choice")
    assert (entry.low is None) == (entry.kind in ("choice", "choices"))


def problems(method: str, has_eval: bool | None = None, **values) -> list[tuple[str, str]]:
    return [(problem.key, problem.code) for problem in check(method, values, has_eval=has_eval)]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"epoch": 0}, "out_of_range"),
        ({"epoch": 1.5}, "not_whole"),
        ({"epoch": True}, "not_whole"),
        ({"learningRate": 0}, "out_of_range"),
        ({"learningRate": float("nan")}, "out_of_range"),
        ({"learningRate": "1e-4"}, "not_a_number"),
        ({"warmupRatio": 1}, "out_of_range"),
        ({"schedulerName": "exponential"}, "not_a_choice"),
        ({"earlyStopping": True}, "not_a_choice"),
        ({"colour": 1}, "unknown"),
        ({"loraRank": 8}, "wrong_method"),
    ],
)
def test_value_that_cannot_be_trained_with(values, code):
    assert problems(FULL, **values) == [(next(iter(values)), code)]


@pytest.mark.parametrize(
    ("value", "code"), [([], "empty"), ("self_attn.q_proj", "empty"), (["lm_head"], "not_a_choice")]
)
def test_target_modules_are_a_list_of_known_layers(value, code):
    assert problems(LORA, loraTargetModules=value) == [("loraTargetModules", code)]
    assert problems(LORA, loraTargetModules=["self_attn.q_proj", "mlp.up_proj"]) == []


def test_end_of_a_polynomial_schedule_lies_below_its_peak():
    values = {"learningRate": 1e-5, "lrEnd": 1e-5}
    assert problems(FULL, schedulerName="polynomial", **values) == [("lrEnd", "not_below_learning_rate")]
    assert problems(FULL, schedulerName="linear", **values) == []


def test_early_stopping_on_validation_needs_validation():
    stopping = {"earlyStopping": "True"}
    assert problems(FULL, validationStep=0, **stopping) == [("earlyStopping", "needs_validation_step")]
    assert problems(FULL, has_eval=False, **stopping) == [("earlyStopping", "needs_evaluation_set")]
    assert problems(FULL, has_eval=True, **stopping) == []
    assert problems(FULL, has_eval=False, validationStep=0, earlyStopMetric="trainingLoss", **stopping) == []


def test_table_and_spec_need_no_training_library():
    script = "import sys, jobs.training.spec, jobs.training.trainers; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"
