"""Loading the data files: repeatable, and respectful of what operators changed."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from catalog import data_files
from catalog.data_files import Figure
from catalog.loading import load, load_data_files
from catalog.models import BaseModel, ModelFamily, Offer, OfferedHyperparameter, WeightsKind
from jobs.training.trainers import FULL, LORA, SFT, methods_of

pytestmark = pytest.mark.django_db


def files():
    return data_files.read_families(), data_files.read_profiles()


def hyperparameter(version: str, method: str, key: str) -> OfferedHyperparameter:
    return OfferedHyperparameter.objects.get(offer__base_model__name=version, offer__method=method, key=key)


def test_the_first_load_makes_every_row(catalogue):
    assert ModelFamily.objects.count() == 16
    assert BaseModel.objects.count() == 30
    assert Offer.objects.filter(method__in=methods_of(SFT, (FULL, LORA))).count() == 50
    assert Offer.objects.count() == 100, "and preferences, rewards and QLoRA for the Llama rows"
    epoch = hyperparameter("ERNIE-Lite-8K-0308", "LoRA", "epoch")
    assert (epoch.default, epoch.minimum, epoch.maximum, epoch.source) == (3, 1, 50, "D 2025-09")


def test_loading_again_changes_nothing(catalogue):
    report = load_data_files()
    assert not any((report.created, report.updated, report.removed, report.kept, report.left_over))


def test_a_change_by_an_operator_stays_while_the_rest_follows_the_files(catalogue):
    OfferedHyperparameter.objects.filter(
        pk=hyperparameter("Mixtral-8x7B", "FullFineTuning", "epoch").pk
    ).update(default=2)
    families, profiles = files()
    profiles["open"].figures["epoch"] = Figure(default=4, range=(1, 30))
    families[7].versions[0].figures.pop("epoch")
    report = load(families, profiles)
    epoch = hyperparameter("Mixtral-8x7B", "FullFineTuning", "epoch")
    assert (epoch.default, epoch.maximum) == (2, 30)
    assert report.kept == ["Mixtral-8x7B FullFineTuning epoch: default"]
    assert hyperparameter("SQLCoder-7B", "LoRA", "epoch").default == 4


def test_a_change_stays_at_every_later_load(catalogue):
    BaseModel.objects.filter(name="Mixtral-8x7B").update(description_en="Ours")
    load_data_files()
    load_data_files()
    assert BaseModel.objects.get(name="Mixtral-8x7B").description_en == "Ours"


def test_weights_and_switches_are_never_written(catalogue):
    mine = {
        "weights_kind": WeightsKind.DIRECTORY,
        "weights_location": "/srv/weights",
        "trust_remote_code": True,
        "enabled": False,
    }
    BaseModel.objects.filter(name="Mixtral-8x7B").update(**mine)
    load_data_files(reset=True)
    base_model = BaseModel.objects.get(name="Mixtral-8x7B")
    assert {name: getattr(base_model, name) for name in mine} == mine


def test_a_removed_hyperparameter_stays_removed_until_reset(catalogue):
    hyperparameter("Mixtral-8x7B", "FullFineTuning", "packing").delete()
    load_data_files()
    offer = Offer.objects.get(base_model__name="Mixtral-8x7B")
    assert not offer.hyperparameters.filter(key="packing").exists()
    load_data_files(reset=True)
    assert offer.hyperparameters.filter(key="packing").exists()


def test_a_hyperparameter_that_left_the_files_goes_unless_changed(catalogue):
    OfferedHyperparameter.objects.filter(
        pk=hyperparameter("Mixtral-8x7B", "FullFineTuning", "packing").pk
    ).update(default="true")
    families, profiles = files()
    families[7].versions[0].without = ["packing", "saveStep"]
    report = load(families, profiles)
    assert report.removed == ["Mixtral-8x7B FullFineTuning saveStep"]
    assert hyperparameter("Mixtral-8x7B", "FullFineTuning", "packing").default == "true"


def test_an_operators_own_rows_are_left_alone(catalogue):
    family = ModelFamily.objects.create(key="ours", name="Ours", model_type="text2text")
    BaseModel.objects.create(family=family, name="Ours-1B")
    report = load_data_files(reset=True)
    assert not report.left_over
    assert BaseModel.objects.filter(name="Ours-1B").exists()


def test_a_version_that_left_the_files_is_reported(catalogue):
    families, profiles = files()
    report = load(families[1:], profiles)
    assert report.left_over == ["family ernie-4-0-turbo", "ERNIE-4.0-Turbo-8K"]
    assert BaseModel.objects.filter(name="ERNIE-4.0-Turbo-8K").exists()


def test_reset_brings_the_files_back(catalogue):
    row = hyperparameter("Mixtral-8x7B", "FullFineTuning", "epoch")
    OfferedHyperparameter.objects.filter(pk=row.pk).update(default=2)
    load_data_files(reset=True)
    row.refresh_from_db()
    assert row.default == 1


def test_figures_that_the_trainer_refuses_change_nothing(monkeypatch, db):
    families, _profiles = files()
    families[-1].versions[0].figures["epoch"] = Figure(default=1, range=(1, 10**9))
    monkeypatch.setattr(data_files, "read_families", lambda: families)
    with pytest.raises(CommandError, match=r"LLaVA-v1\.6-13B FullFineTuning epoch"):
        call_command("load_catalog", stdout=StringIO())
    assert not ModelFamily.objects.exists()


def test_the_command_says_what_it_did(db):
    out = StringIO()
    call_command("load_catalog", stdout=out)
    assert "1536 rows created" in out.getvalue()
