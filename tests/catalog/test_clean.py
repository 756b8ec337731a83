"""Reading hyperparameters from forms and JSON: bounds, conditions, messages."""

from types import SimpleNamespace

import pytest
from django.utils import translation

from catalog.hyperparameters import clean, unknown_keys, visible_keys


def item(key, default, minimum=None, maximum=None, choices=None, method="LoRA"):
    return SimpleNamespace(
        key=key, default=default, minimum=minimum, maximum=maximum, choices=choices, method=method
    )


OFFERED = [
    item("epoch", 1, 1, 50),
    item("learningRate", 3e-5, 1e-7, 0.01),
    item("maxSeqLen", 4096, choices=[512, 4096]),
    item("schedulerName", "linear", choices=["linear", "cosine", "polynomial"]),
    item("numCycles", 0.5, 0.1, 0.5),
    item("lrEnd", 1e-7, 1e-8, 1e-6),
    item("validationStep", 16, 0, 1000000),
    item("earlyStopping", "False", choices=["False", "True"]),
    item("earlyStopMetric", "validationLoss", choices=["validationLoss"]),
    item("loraTargetModules", ["self_attn.q_proj"], choices=["self_attn.q_proj", "self_attn.v_proj"]),
]


def error(raw):
    values, errors = clean(OFFERED, raw)
    (key,) = raw
    assert key not in values
    return errors[key]


def test_what_is_missing_gets_its_default():
    values, errors = clean(OFFERED, {"epoch": "3"})
    assert not errors
    assert values == {
        "epoch": 3,
        "learningRate": 3e-5,
        "maxSeqLen": 4096,
        "schedulerName": "linear",
        "validationStep": 16,
        "earlyStopping": "False",
        "loraTargetModules": ["self_attn.q_proj"],
    }


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("epoch", "1", 1),
        ("epoch", 50, 50),
        ("epoch", 50.0, 50),
        ("learningRate", "1e-7", 1e-7),
        ("learningRate", " 0.01 ", 0.01),
        ("maxSeqLen", "512", 512),
        ("earlyStopping", True, "True"),
        ("earlyStopping", "false", "False"),
        ("loraTargetModules", ["self_attn.v_proj", "self_attn.v_proj"], ["self_attn.v_proj"]),
    ],
)
def test_both_ends_of_a_range_and_every_spelling_are_accepted(key, raw, value):
    values, errors = clean(OFFERED, {key: raw})
    assert not errors
    assert values[key] == value
    assert type(values[key]) is type(value)


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        ("epoch", "0"),
        ("epoch", "51"),
        ("epoch", "2.5"),
        ("epoch", 2.5),
        ("epoch", True),
        ("epoch", "1_0"),
        ("epoch", ""),
        ("epoch", None),
        ("epoch", ["1"]),
        ("epoch", {"a": 1}),
        ("learningRate", "0.0100001"),
        ("learningRate", "9.9e-8"),
        ("learningRate", "nan"),
        ("learningRate", "inf"),
        ("learningRate", float("nan")),
        ("learningRate", "1e400"),
        ("learningRate", 10**400),
        ("learningRate", "abc"),
        ("maxSeqLen", "1024"),
        ("schedulerName", "constant"),
        ("schedulerName", {}),
        ("earlyStopping", "maybe"),
        ("loraTargetModules", []),
        ("loraTargetModules", [""]),
        ("loraTargetModules", ["self_attn.q_proj", "lm_head"]),
        ("loraTargetModules", [1]),
        ("epoch", "9" * 5000),
    ],
)
def test_anything_else_is_an_error_at_its_key(key, raw):
    assert error({key: raw})


def test_a_message_states_the_range_in_the_language_of_the_reader():
    assert error({"learningRate": "1"}) == "Enter a value from 1e-7 to 0.01."
    assert error({"maxSeqLen": "1"}) == "Choose from: 512, 4096."
    with translation.override("zh-hans"):
        assert "1e-7" in error({"learningRate": "1"})


def test_a_condition_shows_and_hides():
    hidden = {"numCycles", "lrEnd", "earlyStopMetric"}
    assert hidden.isdisjoint(visible_keys(OFFERED, {}))
    assert "numCycles" in visible_keys(OFFERED, {"schedulerName": "cosine"})
    assert "lrEnd" in visible_keys(OFFERED, {"schedulerName": "polynomial"})
    assert "earlyStopMetric" in visible_keys(OFFERED, {"earlyStopping": "True"})
    assert visible_keys(OFFERED, {"schedulerName": "cosine"}) == [
        entry.key for entry in OFFERED if entry.key not in {"lrEnd", "earlyStopMetric"}
    ]


def test_what_is_hidden_is_neither_checked_nor_kept():
    values, errors = clean(OFFERED, {"numCycles": "nonsense"})
    assert not errors
    assert "numCycles" not in values


def test_a_decider_that_is_nonsense_decides_as_its_default():
    _, errors = clean(OFFERED, {"schedulerName": "sinus", "numCycles": "nonsense"})
    assert set(errors) == {"schedulerName"}


def test_a_condition_on_something_not_offered_never_holds():
    assert visible_keys([item("earlyStopMetric", "validationLoss")], {"earlyStopping": "True"}) == []


def test_early_stopping_may_be_offered_without_its_details():
    values, errors = clean(
        [item("earlyStopping", "False", choices=["False", "True"])], {"earlyStopping": "True"}
    )
    assert (values, errors) == ({"earlyStopping": "True"}, {})


def test_the_final_learning_rate_must_be_smaller():
    raw = {"schedulerName": "polynomial", "lrEnd": "1e-7", "learningRate": "1e-7"}
    _, errors = clean(OFFERED, raw)
    assert set(errors) == {"lrEnd"}
    assert "1e-7" in errors["lrEnd"]


def test_a_clash_with_a_value_that_nobody_sees_is_reported_where_it_can_be_seen():
    offered = [
        item("learningRate", 1e-6, 1e-10, 2e-4),
        item("schedulerName", "cosine", choices=["cosine", "polynomial"]),
    ]
    _, errors = clean(offered, {"schedulerName": "polynomial", "learningRate": "1e-8"})
    assert set(errors) == {"learningRate"}


def test_early_stopping_needs_validation():
    _, errors = clean(OFFERED, {"earlyStopping": "True", "validationStep": "0"})
    assert set(errors) == {"earlyStopping"}


def test_misspelt_keys_can_be_found():
    assert unknown_keys(OFFERED, {"epoch": 1, "epochs": 2}) == ["epochs"]
