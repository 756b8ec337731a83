"""What the SDK makes of the whole catalogue: every version, and defaults that it accepts itself."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db.models import QuerySet
from qianfan.resources.console.consts import TrainMode
from qianfan.trainer.actions import TrainAction
from qianfan.trainer.configs import get_default_train_config, get_trainer_model_list

from catalog.models import BaseModel, Offer
from jobs.training.trainers import FULL, LORA

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]
NAMES = ("ERNIE-Lite-8K-0308", "Meta-Llama-3.1-8B")


@pytest.fixture
def catalogue(qianfan_as, make_key, alice):
    call_command("load_catalog", verbosity=0)
    qianfan_as(make_key(alice))


def supervised() -> QuerySet[Offer]:
    """The seed's rows: neither preferences and reward models nor QLoRA, which the SDK does not know."""
    return Offer.objects.filter(method__in=(FULL, LORA))


def test_the_sdk_knows_all_30_versions_with_their_methods(catalogue):
    # It lists models under old names as well, and keeps what it heard in other tests.
    listed = get_trainer_model_list(TrainMode.SFT).items()
    known = {name: info for name, info in listed if info.support_peft_types and info.model == name}
    known.pop("Toy-8K", None)
    assert set(known) == set(BaseModel.objects.values_list("name", flat=True))
    assert len(known) == 30
    scales = {(name, scale.value) for name, info in known.items() for scale in info.support_peft_types}
    assert scales == set(supervised().values_list("base_model__name", "method"))


def test_the_sdk_accepts_the_defaults_of_every_offer(catalogue):
    checked = 0
    for name, scales in get_default_train_config(TrainMode.SFT).items():
        for scale, config in scales.items():
            config.peft_type = scale
            TrainAction(train_mode=TrainMode.SFT, train_type=name, train_config=config)
            checked += 1
    assert checked >= supervised().count() == 50


def test_ernie_and_open_models_spell_the_schedule_as_qianfan_does(catalogue):
    models = get_trainer_model_list(TrainMode.SFT)
    ernie, llama = (models[name].specific_peft_types_params_limit["LoRA"] for name in NAMES)
    assert "lr_scheduler_type" in ernie and "scheduler_name" not in ernie
    assert "scheduler_name" in llama and "lr_scheduler_type" not in llama
