"""The pages of base models: everything offered is there, with words for ranges and conditions."""

import pytest
from django.urls import reverse

from catalog.models import BaseModel, ModelFamily, Offer
from catalog.views import offer_rows

LIST = reverse("catalog:list")


@pytest.fixture
def speed(catalogue) -> BaseModel:
    return BaseModel.objects.get(name="ERNIE-Speed-8K")


def rows_of(model: BaseModel, method: str) -> dict:
    return {row.key: row for row in offer_rows(model.offers.get(method=method))}


def test_lists_every_base_model_under_its_family(client_of, alice, catalogue):
    page = client_of(alice).get(LIST)
    for model in BaseModel.objects.all():
        assert reverse("catalog:detail", args=[model.name]) in page.text
    assert page.context["count"] == BaseModel.objects.count()


def test_can_be_narrowed_to_a_type(client_of, alice, catalogue):
    client = client_of(alice)
    page = client.get(LIST, {"type": "text2image"})
    found = [family for _label, families in page.context["sections"] for family in families]
    assert found == list(ModelFamily.objects.filter(model_type="text2image"))
    assert len(client.get(LIST, {"type": "nonsense"}).context["sections"]) == 3


def test_takes_the_same_queries_however_many_models(client_of, alice, catalogue, django_assert_num_queries):
    client = client_of(alice)
    # session, user, families, base models, offers, memberships
    with django_assert_num_queries(7):
        client.get(LIST)


def test_switched_off_models_are_for_operators(client_of, alice, operator, speed):
    BaseModel.objects.filter(pk=speed.pk).update(enabled=False)
    url = reverse("catalog:detail", args=[speed.name])
    assert url not in client_of(alice).get(LIST).text
    assert url in operator.get(LIST).text
    assert client_of(alice).get(url).status_code == 200  # runs of earlier days lead there


def test_operators_get_the_way_to_bind_weights(client_of, alice, operator, speed):
    bind = reverse("admin:catalog_basemodel_change", args=[speed.pk])
    assert bind in operator.get(LIST).text
    assert bind not in client_of(alice).get(LIST).text


def test_says_whether_a_model_can_be_trained(client_of, alice, speed):
    client, url = client_of(alice), reverse("catalog:detail", args=[speed.name])
    start = f"{reverse('jobs:create')}?base_model={speed.name}"
    page = client.get(url).text
    assert "Not bound" in page
    assert start not in page
    BaseModel.objects.filter(pk=speed.pk).update(weights_kind="directory", weights_location="/w")
    page = client.get(url).text
    assert "Ready to train" in page
    assert start in page


def test_every_base_model_has_a_page_with_all_its_hyperparameters(client_of, alice, catalogue):
    client = client_of(alice)
    for model in BaseModel.objects.prefetch_related("offers__hyperparameters"):
        page = client.get(reverse("catalog:detail", args=[model.name]))
        assert page.status_code == 200
        expected = [[item.key for item in offer.hyperparameters.all()] for offer in model.offers.all()]
        assert [[row.key for row in rows] for _offer, rows in page.context["offers"]] == expected


def test_ranges_choices_and_conditions_are_in_words(speed):
    rows = rows_of(speed, "LoRA")
    assert rows["epoch"].allowed == "1 – 50"
    assert rows["maxSeqLen"].allowed == "512, 1024, 2048, 4096, 8192"
    assert rows["power"].condition == "Learning rate schedule is polynomial"
    assert rows["earlyStoppingPatience"].condition == "Early stopping is On"
    assert rows["epoch"].condition == ""


def test_figures_name_their_source_in_words(catalogue):
    for offer in Offer.objects.prefetch_related("hyperparameters"):
        assert not {row.source for row in offer_rows(offer)} & {"", "CAP", "OLD", "ours"}


def test_refuses_post_visitors_and_unknown_names(client, client_of, alice, speed):
    detail = reverse("catalog:detail", args=[speed.name])
    for url in (LIST, detail):
        assert client_of(alice).post(url).status_code == 405
        assert client.get(url).url.startswith(reverse("login"))
    assert client_of(alice).get(reverse("catalog:detail", args=["GPT-9"])).status_code == 404
