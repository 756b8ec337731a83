"""What may be chosen: enabled rows, in order, with few queries; and an offer as JSON."""

import json

import pytest
from django.utils import translation

from catalog import queries
from catalog.models import BaseModel, ModelFamily, Offer

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("catalogue")]


def test_families_come_by_type_in_the_seeds_order():
    names = [family.name for family in queries.families("text2text")]
    assert names[:3] == ["ERNIE 4.0 Turbo", "ERNIE 3.5", "ERNIE Speed"]
    assert len(names) == 13
    assert [family.name for family in queries.families("text2image")] == [
        "Stable_diffusion XL 1.0",
        "文心一格",
    ]


def test_disabled_versions_and_offers_are_not_offered():
    BaseModel.objects.filter(name="ERNIE-Speed-8K").update(enabled=False)
    Offer.objects.filter(base_model__name="ERNIE-Speed-Pro-128K", method="LoRA").update(enabled=False)
    (pro,) = queries.versions(ModelFamily.objects.get(key="ernie-speed"))
    assert [offer.method for offer in queries.offers(pro)] == ["FullFineTuning"]
    assert queries.offer(pro, "LoRA") is None
    assert queries.base_model("ERNIE-Speed-8K") is None


def test_a_family_without_anything_to_choose_is_not_offered():
    Offer.objects.filter(base_model__family__key="ernie-3-5").update(enabled=False)
    assert "ernie-3-5" not in [family.key for family in queries.families("text2text")]


def test_everything_about_an_offer_takes_two_queries(django_assert_num_queries):
    base_model = queries.base_model("ERNIE-Speed-8K")
    with django_assert_num_queries(2):
        described = [queries.describe_offer(offer) for offer in queries.offers(base_model)]
    assert len(described) == 2


def test_an_offer_as_json_says_all_that_a_script_needs():
    base_model = queries.base_model("ERNIE-Speed-8K")
    with translation.override("en"):
        described = json.loads(json.dumps(queries.describe_offer(queries.offer(base_model, "LoRA"))))
    by_key = {item["key"]: item for item in described["hyperparameters"]}
    assert by_key["epoch"]["range"] == [1, 50]
    assert by_key["epoch"]["label"] == "Epochs"
    assert [choice["value"] for choice in by_key["loraRank"]["choices"]] == [8, 64]
    assert by_key["loraRank"]["default"] == 64
    assert by_key["numCycles"]["when"] == {"schedulerName": ["cosine"]}
    assert by_key["earlyStopping"]["choices"][1] == {"value": "True", "label": "On"}


def test_texts_follow_the_language():
    offer = queries.offer(queries.base_model("ERNIE-Speed-8K"), "LoRA")
    decay = next(item for item in offer.hyperparameters.all() if item.key == "weightDecay")
    with translation.override("zh-hans"):
        assert decay.label == "正则化系数"
        assert offer.method_label == "LoRA"
        assert queries.base_model("文心一格").label == "文心一格"
    with translation.override("en"):
        assert decay.label == "Regularisation coefficient"
        assert queries.base_model("文心一格").label == "Wenxin Yige (ERNIE-ViLG)"
