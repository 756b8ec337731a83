"""Every row of the data files: what the seed asks for, in both languages, and nothing that a run would refuse."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from catalog import data_files, rules
from catalog.data_files import DataFileError, Figure, Profile, Version
from catalog.hyperparameters import HYPERPARAMETERS, clean
from catalog.methods import METHODS
from catalog.models import ModelType

FAMILIES = data_files.read_families()
PROFILES = data_files.read_profiles()
VERSIONS = [version for family in FAMILIES for version in family.versions]
ROWS = [(version, offer) for version in VERSIONS for offer in data_files.offer_rows(version, PROFILES)]
# The seed's tables: [key, label, help] and [method, label, help], and for each version and method the numbers of
# its texts in order.
SEED = json.loads((Path(__file__).parent / "seed_rows.json").read_text(encoding="utf-8"))

# What the seed lists; other modes and further methods are rows of their own beside them.
SEED_ROWS = [(version, offer) for version, offer in ROWS if offer.method in version.methods]

each_row = pytest.mark.parametrize(
    ("version", "offer"), ROWS, ids=[f"{version.name}-{offer.method}" for version, offer in ROWS]
)


def offered(offer):
    """The row's hyperparameters as the rules and the form see them."""
    return [
        SimpleNamespace(
            key=row.key,
            method=offer.method,
            default=row.default,
            minimum=row.minimum,
            maximum=row.maximum,
            choices=row.choices,
        )
        for row in offer.hyperparameters
    ]


def test_there_are_the_seeds_versions_in_the_seeds_order():
    assert [version.name for version in VERSIONS] == list(SEED["rows"])
    assert len(VERSIONS) == 30
    assert len(SEED_ROWS) == 50


@pytest.mark.parametrize(
    ("version", "offer"), SEED_ROWS, ids=[f"{version.name}-{offer.method}" for version, offer in SEED_ROWS]
)
def test_a_row_has_exactly_the_seeds_hyperparameters_in_its_words(version, offer):
    method_number, numbers = SEED["rows"][version.name][offer.method]
    shown = [
        [
            row.key,
            row.text.label_zh or HYPERPARAMETERS[row.key].label_zh,
            row.text.help_zh or HYPERPARAMETERS[row.key].help_zh,
        ]
        for row in offer.hyperparameters
    ]
    assert shown == [SEED["hyperparameter_texts"][number] for number in numbers]
    method = METHODS[offer.method]
    assert [method.key, method.label_zh, offer.text.help_zh or method.help_zh] == SEED["method_texts"][
        method_number
    ]


@each_row
def test_a_rows_figures_may_be_saved(version, offer):
    for row in offer.hyperparameters:
        entry = HYPERPARAMETERS[row.key]
        errors = rules.figure_errors(entry, offer.method, row.default, row.minimum, row.maximum, row.choices)
        assert not errors, (row.key, errors)
        assert row.source, row.key
    assert not rules.together_errors(offered(offer))


@each_row
def test_a_row_starts_with_its_defaults_under_every_schedule(version, offer):
    items = offered(offer)
    schedules = next((item.choices for item in items if item.key == "schedulerName"), [None])
    for schedule in schedules:
        raw = {"schedulerName": schedule, "earlyStopping": "True"} if schedule else {}
        _, errors = clean(items, {key: value for key, value in raw.items() if key in {i.key for i in items}})
        assert not errors


@each_row
def test_a_sequence_fits_the_context(version, offer):
    lengths = [row.choices for row in offer.hyperparameters if row.key == "maxSeqLen"]
    # ChatGLM3-6B's 8192 is what the service offered; the model takes it, the seed's text says 4096.
    if version.name != "ChatGLM3-6B":
        assert all(max(choices) <= version.context_length for choices in lengths)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.key)
def test_texts_are_in_both_languages(family):
    for item in (family, *family.versions):
        assert bool(item.description_zh) == bool(item.description_en), item.name
        assert item.name.isascii() or item.name_en, item.name
    assert all(version.license_zh and version.license_en for version in family.versions)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.key)
def test_a_family_names_open_weights_and_a_known_type(family):
    assert family.model_type in ModelType.values
    for version in family.versions:
        rules.check_binding("hub", version.runs_on, "")
        assert version.architecture


def test_a_label_in_other_words_has_them_in_both_languages():
    for _version, offer in ROWS:
        for row in offer.hyperparameters:
            assert bool(row.text.label_zh) == bool(row.text.label_en), row.key


def version_with(**changes) -> Version:
    return Version(
        name="Test", methods=["LoRA"], architecture="llama", runs_on="a/b", **{"profile": "child"} | changes
    )


BASE = Profile(
    source="CAP",
    keys={"LoRA": ["epoch", "loraRank"]},
    figures={"epoch": Figure(default=1, range=(1, 50)), "loraRank": Figure(default=8, choices=[2, 4, 8])},
)


def test_the_last_layer_has_the_last_word():
    profiles = {
        "base": BASE,
        "child": Profile(extends="base", figures={"epoch": Figure(default=3, source="ours")}),
    }
    version = version_with(figures_for={"LoRA": {"loraRank": Figure(default=16, range=(1, 64))}})
    (offer,) = data_files.offer_rows(version, profiles)
    epoch, rank = offer.hyperparameters
    assert (epoch.default, epoch.minimum, epoch.maximum, epoch.source) == (3, 1, 50, "ours")
    assert (rank.default, rank.minimum, rank.maximum, rank.choices, rank.source) == (16, 1, 64, None, "CAP")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"figures": {"epochs": Figure(default=1)}}, "epochs"),
        ({"keys": {"DoRA": ["epoch"]}}, "DoRA"),
        ({"keys": {"LoRA": ["epoch", "seed"]}}, "seed"),
        ({"profile": "missing"}, "missing"),
    ],
)
def test_a_misspelt_name_does_not_load(changes, named):
    with pytest.raises(DataFileError, match=named):
        data_files.offer_rows(version_with(**changes), {"child": BASE})


def test_an_unknown_word_in_a_file_names_the_file(tmp_path):
    (tmp_path / "new.toml").write_text('key = "new"\nname = "New"\nmodel_type = "text2text"\norders = 1')
    with pytest.raises(DataFileError, match=r"new\.toml"):
        data_files.read_families(tmp_path)
