"""What may be saved for an offer and a binding."""

import pytest
from django.core.exceptions import ValidationError

from catalog.models import BaseModel, Offer, OfferedHyperparameter

FIGURES = {
    "epoch": {"default": 1, "minimum": 1.0, "maximum": 50.0},
    "learningRate": {"default": 3e-5, "minimum": 1e-7, "maximum": 0.01},
    "loraRank": {"default": 8, "choices": [8, 64]},
    "schedulerName": {"default": "linear", "choices": ["linear", "cosine"]},
    "earlyStopping": {"default": "False", "choices": ["False", "True"]},
    "loraTargetModules": {
        "default": ["self_attn.q_proj"],
        "choices": ["self_attn.q_proj", "self_attn.v_proj"],
    },
}


def row(key: str, method: str = "LoRA", **changes) -> OfferedHyperparameter:
    return OfferedHyperparameter(offer=Offer(method=method), key=key, **(FIGURES[key] | changes))


@pytest.mark.parametrize("key", FIGURES)
def test_sound_figures_pass(key):
    row(key).clean()


@pytest.mark.parametrize(
    ("key", "changes", "field"),
    [
        ("epoch", {"default": 0}, "default"),
        ("epoch", {"default": 51}, "default"),
        ("epoch", {"default": 1.5}, "default"),
        ("epoch", {"default": "many"}, "default"),
        ("epoch", {"default": None}, "default"),
        ("epoch", {"default": [1]}, "default"),
        ("epoch", {"minimum": 10.0, "maximum": 5.0}, "maximum"),
        ("epoch", {"minimum": 0.0}, "minimum"),
        ("epoch", {"minimum": 0.5}, "minimum"),
        ("epoch", {"maximum": 5000.0}, "maximum"),
        ("epoch", {"maximum": float("inf")}, "maximum"),
        ("epoch", {"maximum": None}, "maximum"),
        ("epoch", {"choices": [1, 2]}, "choices"),
        ("learningRate", {"minimum": 0.0}, "minimum"),
        ("learningRate", {"minimum": float("nan")}, "minimum"),
        ("loraRank", {"choices": [8, "x"]}, "choices"),
        ("loraRank", {"choices": [8, True]}, "choices"),
        ("loraRank", {"choices": [8, 8.5]}, "choices"),
        ("loraRank", {"choices": [8, 8]}, "choices"),
        ("loraRank", {"choices": [0, 8]}, "choices"),
        ("loraRank", {"choices": []}, "choices"),
        ("loraRank", {"choices": "8, 64"}, "choices"),
        ("loraRank", {"default": 16}, "default"),
        ("schedulerName", {"choices": ["linear", "sinus"]}, "choices"),
        ("schedulerName", {"choices": None}, "choices"),
        ("schedulerName", {"minimum": 1.0}, "minimum"),
        ("schedulerName", {"default": "cosinus"}, "default"),
        ("earlyStopping", {"default": "maybe"}, "default"),
        ("loraTargetModules", {"default": []}, "default"),
        ("loraTargetModules", {"default": ["mlp.up_proj"]}, "default"),
        ("loraRank", {"method": "FullFineTuning"}, "key"),
    ],
)
def test_figures_that_a_run_would_refuse_are_refused_at_the_field(key, changes, field):
    with pytest.raises(ValidationError) as raised:
        row(key, **changes).clean()
    assert set(raised.value.message_dict) == {field}


def test_a_default_is_stored_in_one_form():
    stopping, rank = row("earlyStopping", default="false"), row("loraRank", default="64")
    stopping.clean()
    rank.clean()
    assert (stopping.default, rank.default) == ("False", 64)


@pytest.mark.parametrize(
    ("kind", "location", "revision"),
    [
        ("none", "", ""),
        ("directory", "/srv/weights/ernie", ""),
        ("hub", "baidu/ERNIE-4.5-0.3B-PT", "main"),
        ("s3", "s3://our-bucket/weights/ernie/", ""),
    ],
)
def test_places_for_weights_pass(kind, location, revision):
    BaseModel(weights_kind=kind, weights_location=location, weights_revision=revision).clean()


@pytest.mark.parametrize(
    ("kind", "location", "revision", "field"),
    [
        ("directory", "relative/path", "", "weights_location"),
        ("directory", "/srv/../etc", "", "weights_location"),
        ("directory", "", "", "weights_location"),
        ("hub", "no-owner", "", "weights_location"),
        ("hub", "a/b/c", "", "weights_location"),
        ("hub", "../b", "", "weights_location"),
        ("hub", "https://hub/a/b", "", "weights_location"),
        ("s3", "https://bucket/x", "", "weights_location"),
        ("s3", "s3://Bucket/x/", "", "weights_location"),
        ("s3", "s3://bucket", "", "weights_location"),
        ("none", "/srv/weights", "", "weights_kind"),
        ("directory", "/srv/w", "main", "weights_revision"),
    ],
)
def test_places_where_no_weights_can_lie_are_refused_at_the_field(kind, location, revision, field):
    with pytest.raises(ValidationError) as raised:
        BaseModel(weights_kind=kind, weights_location=location, weights_revision=revision).clean()
    assert set(raised.value.message_dict) == {field}
