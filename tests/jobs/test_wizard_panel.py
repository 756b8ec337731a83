"""The part of the wizard that follows from the chosen model: every row of the catalogue, conditions, and what
survives a change."""

import re
from html import unescape

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from catalog import data_files
from catalog.hyperparameters import HYPERPARAMETERS
from catalog.loading import load_data_files
from catalog.models import BaseModel, OfferedHyperparameter, WeightsKind
from catalog.values import Kind, format_number
from console.models import Membership, Role, User, Workspace
from jobs.training.trainers import TRAINERS

PANEL = reverse("jobs:panel")
ROWS = [
    (family, version, offer)
    for family in data_files.read_families()
    for version in family.versions
    for offer in data_files.offer_rows(version, data_files.read_profiles())
]


@pytest.fixture(scope="module")
def client(django_db_setup, django_db_blocker):
    """Somebody who reads Chinese and may create jobs, over the whole catalogue, loaded once for this file."""
    with django_db_blocker.unblock(), transaction.atomic():
        load_data_files()
        workspace = Workspace.objects.create(name="Readers")
        user = User.objects.create_user("reader", language="zh-hans")
        Membership.objects.create(user=user, workspace=workspace, role=Role.MEMBER)
        client = Client()
        client.force_login(user)
        yield client
        transaction.set_rollback(True)


@pytest.fixture
def panel(client, db):
    """Returns a function that asks for the panel; with what was typed."""

    def ask(**typed):
        return client.post(PANEL, typed, headers={"HX-Request": "true", "HX-Target": "training-config"})

    return ask


def shown(answer) -> list[tuple[str, str]]:
    """Label and key of every hyperparameter in the panel, from top to bottom."""
    found = re.findall(r'<span>([^<]+)</span> <span class="key">(\w+)</span>', answer.text)
    return [(unescape(label), key) for label, key in found]


def keys(answer) -> list[str]:
    return [key for _label, key in shown(answer)]


def value(answer, key: str) -> str:
    return answer.context["form"][f"hp-{key}"].value()


def offer_of(name: str, method: str) -> int:
    return BaseModel.objects.get(name=name).offers.get(method=method).pk


@pytest.mark.parametrize(
    ("family", "version", "offer"),
    ROWS,
    ids=[f"{version.name}-{offer.method}" for _f, version, offer in ROWS],
)
@pytest.mark.parametrize(("schedule", "early"), [("cosine", "True"), ("polynomial", "False")])
def test_a_row_shows_exactly_its_hyperparameters(panel, family, version, offer, schedule, early):
    rows = {row.key: row for row in offer.hyperparameters}
    loss = "robust" if early == "True" else "sigmoid"
    decided = {"schedulerName": schedule, "earlyStopping": early, "lossType": loss}
    typed = {f"hp-{key}": text for key, text in decided.items() if key in rows}
    answer = panel(family=family.key, base_model=version.name, method=offer.method, **typed)

    expected, folded = [], []
    for key, row in rows.items():
        entry = HYPERPARAMETERS[key]
        if any(
            decider not in rows or decided[decider] not in values for decider, values in entry.when.items()
        ):
            continue
        is_advanced = entry.advanced if row.advanced is None else row.advanced
        place = folded if is_advanced and not entry.when else expected
        place.append((row.text.label_zh or entry.label_zh, key))
    assert shown(answer) == expected + folded


def test_every_control_says_its_range_and_default(panel):
    answer = panel(base_model="ERNIE-Speed-8K", method="LoRA")
    for row in answer.context["form"].hyperparameters:
        item, html = row.item, str(row.field)
        if item.choices is None:
            assert f' min="{format_number(item.minimum)}"' in html
            assert f' max="{format_number(item.maximum)}"' in html
        elif item.entry.kind is not Kind.BOOLEAN:
            assert all(label in html for _value, label in item.choice_labels)
        assert row.hint in answer.text


def test_another_family_brings_its_first_version_and_method(panel):
    choice = panel(family="codellama-7b", base_model="ERNIE-Speed-8K", method="LoRA").context["form"].choice
    assert (choice.base_model.name, choice.offer.method) == ("CodeLlama-7B", "LoRA")


def test_another_type_brings_its_models_and_says_that_there_is_no_trainer(panel, monkeypatch):
    monkeypatch.delitem(TRAINERS, "text2image")
    answer = panel(type="text2image", family="ernie-speed", base_model="ERNIE-Speed-8K")
    assert answer.context["form"].choice.family.model_type == "text2image"
    assert keys(answer) == ["epoch", "batchSize", "learningRate"]
    obstacles = {option.value: option.obstacle for option in answer.context["form"].choice.types}
    assert obstacles["text2image"] and not obstacles["text2text"]
    # The data of that type come along.
    assert 'id="data-config" hx-swap-oob' in answer.text


def test_a_typed_value_survives_where_it_is_valid(panel):
    full = offer_of("ERNIE-Speed-8K", "FullFineTuning")
    answer = panel(
        offer=full,
        base_model="ERNIE-Speed-8K",
        method="LoRA",
        **{"hp-epoch": "7", "hp-learningRate": "0.009"},
    )
    assert value(answer, "epoch") == "7"
    assert value(answer, "learningRate") == "0.0003"  # 0.009 is beyond LoRA's range


def test_a_default_of_the_old_offer_gives_way_to_the_new_one(panel):
    full = offer_of("ERNIE-Speed-8K", "FullFineTuning")
    answer = panel(offer=full, base_model="ERNIE-Speed-8K", method="LoRA", **{"hp-learningRate": "3e-5"})
    assert value(answer, "learningRate") == "0.0003"


def test_nonsense_stays_while_the_model_stays(panel):
    lora = offer_of("ERNIE-Speed-8K", "LoRA")
    answer = panel(offer=lora, base_model="ERNIE-Speed-8K", method="LoRA", **{"hp-epoch": "9999"})
    assert value(answer, "epoch") == "9999"


def test_a_value_of_a_hidden_field_comes_back_with_it(panel):
    typed = {"offer": offer_of("ERNIE-Speed-8K", "LoRA"), "base_model": "ERNIE-Speed-8K", "method": "LoRA"}
    hidden = panel(**typed, **{"hp-schedulerName": "linear", "hp-numCycles": "0.3"})
    assert "numCycles" not in keys(hidden)
    assert '<input type="hidden" name="hp-numCycles" value="0.3">' in hidden.text


def test_reset_brings_all_defaults(panel):
    typed = {"offer": offer_of("ERNIE-Speed-8K", "LoRA"), "base_model": "ERNIE-Speed-8K", "method": "LoRA"}
    answer = panel(**typed, reset="all", **{"hp-epoch": "7", "hp-earlyStopping": "True"})
    assert value(answer, "epoch") == "1"
    assert "earlyStoppingPatience" not in keys(answer)


def test_the_fold_is_open_where_something_is_changed_in_it(panel):
    typed = {"offer": offer_of("ERNIE-Speed-8K", "LoRA"), "base_model": "ERNIE-Speed-8K", "method": "LoRA"}
    assert 'id="advanced" open' not in panel(**typed).text
    assert 'id="advanced" open' in panel(**typed, **{"hp-seed": "7"}).text
    assert 'id="advanced" open' in panel(**typed, advanced_open="1").text


def test_no_weights_are_said_at_the_version(panel):
    answer = panel(base_model="ERNIE-Lite-8K-0308", method="LoRA")
    assert "notice-warn" in answer.text
    BaseModel.objects.filter(name="ERNIE-Lite-8K-0308").update(
        weights_kind=WeightsKind.DIRECTORY, weights_location="/srv/lite"
    )
    assert "notice-warn" not in panel(base_model="ERNIE-Lite-8K-0308", method="LoRA").text


def test_a_swap_needs_few_queries(panel, django_assert_max_num_queries):
    typed = {"offer": offer_of("ERNIE-Speed-8K", "LoRA"), "base_model": "ERNIE-Speed-8K"}
    with django_assert_max_num_queries(7):
        panel(**typed, method="FullFineTuning", data_for="text2text messages")


def test_what_is_not_enabled_is_not_shown(panel):
    BaseModel.objects.filter(name="ERNIE-Speed-8K").update(enabled=False)
    names = [model.name for model in panel(family="ernie-speed").context["form"].choice.base_models]
    assert names == ["ERNIE-Speed-Pro-128K"]


def test_a_list_of_layers_can_be_emptied_and_says_so(panel):
    typed = {"base_model": "CodeLlama-7B", "method": "LoRA", "offer": offer_of("CodeLlama-7B", "LoRA")}
    form = panel(**typed, **{"hp-loraTargetModules": ""}).context["form"]
    assert form.raw["loraTargetModules"] == []
    assert "hp-loraTargetModules" in form.problems


def test_a_switch_that_is_off_is_off(panel):
    item = OfferedHyperparameter.objects.get(offer=offer_of("ERNIE-Speed-8K", "LoRA"), key="loraAllLinear")
    typed = {"base_model": "ERNIE-Speed-8K", "method": "LoRA", "offer": item.offer_id}
    assert item.default == "True"
    assert value(panel(**typed, **{"hp-loraAllLinear": "False"}), "loraAllLinear") is False
    assert value(panel(**typed, **{"hp-loraAllLinear": ["False", "True"]}), "loraAllLinear") is True
