"""Training modes: the wizard asks for one where a model has several, and data, base runs and spec follow it."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from catalog.methods import METHODS
from catalog.models import BaseModel, Offer, OfferedHyperparameter
from datasets.models import DatasetVersion, RowType
from jobs import launch
from jobs.incremental import obstacle
from jobs.mix import mixes_base
from jobs.models import Checkpoint, Run, RunSource, RunState, Worker
from tests.rows import store_rows

PANEL = reverse("jobs:panel")


@pytest.fixture
def modes(base_model: BaseModel) -> BaseModel:
    """The base model with LoRA on preferences beside LoRA on conversations."""
    for order, method in enumerate(("FullFineTuning", "DPO-FullFineTuning", "DPO-LoRA"), start=1):
        offer = Offer.objects.create(base_model=base_model, method=method, order=order)
        OfferedHyperparameter.objects.create(
            offer=offer, key="epoch", order=0, default=1, minimum=1, maximum=50
        )
    return base_model


@pytest.fixture
def pairs(make_version) -> DatasetVersion:
    version = make_version(120, name="pairs")
    type(version.dataset).objects.filter(pk=version.dataset_id).update(row_type=RowType.PREFERENCE)
    row = b'{"messages":[{"role":"user","content":"q"}],"chosen":"a","rejected":"b"}'
    version.rows_path = store_rows("pairs.parquet", [row] * 120)
    version.save()
    return version


@pytest.fixture
def ask(client_of, alice):
    client = client_of(alice)

    def post(**typed: Any):
        return client.post(PANEL, typed, headers={"HX-Request": "true", "HX-Target": "training-config"})

    return post


def test_the_mode_is_asked_for_only_where_there_are_several(ask, base_model):
    assert 'name="mode"' not in ask(base_model=base_model.name).text


def test_another_mode_keeps_the_scale(ask, modes):
    choice = ask(base_model=modes.name, mode="DPO", method="LoRA").context["form"].choice
    assert choice.offer.method == "DPO-LoRA"
    assert [offer.method for offer in choice.methods] == ["DPO-FullFineTuning", "DPO-LoRA"]


@pytest.mark.parametrize(
    ("method", "has", "is_said"), [("QLoRA", False, True), ("QLoRA", True, False), ("LoRA", False, False)]
)
def test_the_wizard_says_when_no_machine_has_what_a_method_needs(ask, base_model, method, has, is_said):
    Offer.objects.get_or_create(base_model=base_model, method=method)
    versions = {"torch": "2.13.0"} | ({"bitsandbytes": "0.50.2"} if has else {})
    now = timezone.now()
    Worker.objects.create(
        name="w", process="w", host="h", versions=versions, started_at=now, heartbeat_at=now
    )
    assert ("requirements-qlora.txt" in ask(base_model=base_model.name, method=method).text) is is_said


def test_the_list_of_data_follows_the_mode_and_names_what_does_not_fit(ask, modes, pairs, make_version):
    chats = make_version(120)
    form = ask(base_model=modes.name, mode="DPO", method="LoRA", data_for="text2text messages").context[
        "form"
    ]
    assert (form.published, form.unfit_versions) == ([pairs], [chats])
    form = ask(base_model=modes.name, mode="SFT", method="DPO-LoRA").context["form"]
    assert (form.published, form.unfit_versions) == ([chats], [pairs])


def test_a_run_on_preferences_is_written_for_their_trainer(make_run, pairs):
    run = make_run(method="DPO-LoRA", hyperparameters={"epoch": 1})
    RunSource.objects.create(run=run, version=pairs)
    assert launch.trainer_of(Run.objects.get(pk=run.pk)).module == "dpo"


@pytest.mark.parametrize(("method", "may"), [("DPO-FullFineTuning", True), ("DPO-LoRA", False)])
def test_a_full_run_on_preferences_may_be_built_on(make_run, method, may):
    run = make_run(RunState.DONE, method=method, finished_at=timezone.now())
    Checkpoint.objects.create(run=run, step=4, path="checkpoints/checkpoint-4", created_at=timezone.now())
    assert (not obstacle(run)) is may


def test_a_reward_model_is_never_a_base(make_run):
    run = make_run(RunState.DONE, method="RM-FullFineTuning", finished_at=timezone.now())
    assert "reward" in obstacle(run).lower()
    assert not any(METHODS[f"RM-{scale}"].incremental_base for scale in ("FullFineTuning", "LoRA"))


def test_rows_of_another_kind_are_not_mixed_in(make_run):
    base = make_run(RunState.DONE, method="FullFineTuning")
    assert not mixes_base(make_run(method="DPO-FullFineTuning", base_run=base))
    assert mixes_base(make_run(method="FullFineTuning", base_run=base))
