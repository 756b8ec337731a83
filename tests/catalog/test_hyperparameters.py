"""The registry of hyperparameters: complete in both languages, and of one mind with the trainer."""

import pytest

from catalog.hyperparameters import GROUPS, HYPERPARAMETERS
from catalog.values import Kind
from jobs.training.parameters import PARAMETERS

KINDS = {
    Kind.INTEGER: {"int", "float"},  # `power` is whole here, as the API has it; the trainer takes any number
    Kind.FLOAT: {"float"},
    Kind.CHOICE: {"choice"},
    Kind.BOOLEAN: {"choice"},
    Kind.MULTI_CHOICE: {"choices"},
}
each_entry = pytest.mark.parametrize("entry", HYPERPARAMETERS.values(), ids=lambda entry: entry.key)


def test_the_trainer_knows_the_same_keys():
    assert set(HYPERPARAMETERS) == set(PARAMETERS)


@each_entry
def test_an_entry_is_complete(entry):
    assert all((entry.label_zh, entry.label_en, entry.help_zh, entry.help_en, entry.source))
    assert bool(entry.unit_zh) == bool(entry.unit_en)
    assert entry.group in GROUPS
    assert entry.limits.target


@each_entry
def test_an_entry_takes_what_the_trainer_takes(entry):
    assert entry.limits.kind in KINDS[entry.kind]
    assert set(entry.choice_values) <= set(entry.limits.choices)
    assert bool(entry.choices) == (not entry.kind.is_number)


@each_entry
def test_a_condition_names_a_choice_that_exists(entry):
    for decider, values in entry.when.items():
        assert set(values) <= set(HYPERPARAMETERS[decider].choice_values)
