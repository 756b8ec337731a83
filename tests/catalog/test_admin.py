"""The admin refuses what a run would refuse, and says so at the field."""

from typing import Any

import pytest
from django.forms import BaseModelFormSet
from django.test import Client
from django.urls import reverse

from catalog.models import BaseModel, ModelFamily, Offer, OfferedHyperparameter

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("some_families")]


def read_form(operator: Client, url: str) -> tuple[dict[str, Any], BaseModelFormSet]:
    """The values of an admin page's form as a browser would send them, and the formset in it."""
    context = operator.get(url).context
    formset = context["inline_admin_formsets"][0].formset
    fields = [
        field
        for form in (context["adminform"].form, formset.management_form, *formset.forms)
        for field in form
    ]
    values = {field.html_name: field.value() for field in fields if field.value() is not False}
    return {name: "" if value is None else value for name, value in values.items()}, formset


def offer_form(operator: Client, version: str, method: str) -> tuple[str, dict[str, Any], BaseModelFormSet]:
    offer = Offer.objects.get(base_model__name=version, method=method)
    url = reverse("admin:catalog_offer_change", args=[offer.pk])
    return url, *read_form(operator, url)


def refused_keys(response) -> set[str]:
    """The hyperparameters at which the page that came back shows an error."""
    forms = response.context["inline_admin_formsets"][0].formset.forms
    return {form.instance.key for form in forms if form.errors}


def prefix_of(formset: BaseModelFormSet, key: str) -> str:
    return next(form.prefix for form in formset.forms if form.instance.key == key)


def errors_after(operator: Client, key: str, **changes: str) -> dict[str, list[str]]:
    """What the admin says at the fields of one hyperparameter of ERNIE-Speed-8K with LoRA."""
    url, data, formset = offer_form(operator, "ERNIE-Speed-8K", "LoRA")
    prefix = prefix_of(formset, key)
    response = operator.post(url, data | {f"{prefix}-{name}": value for name, value in changes.items()})
    assert response.status_code == 200, "it was saved"
    forms = response.context["inline_admin_formsets"][0].formset.forms
    return next(form.errors for form in forms if form.prefix == prefix)


def test_an_offer_is_saved_as_it_is_shown(operator):
    url, data, _ = offer_form(operator, "CodeLlama-7B", "LoRA")
    rows = OfferedHyperparameter.objects.filter(offer__base_model__name="CodeLlama-7B", offer__method="LoRA")
    before = list(rows.values())
    assert operator.post(url, data).status_code == 302
    assert list(rows.values()) == before


def test_plain_text_becomes_values_of_the_right_kind(operator):
    url, data, formset = offer_form(operator, "CodeLlama-7B", "LoRA")
    changes = {
        prefix_of(formset, "loraRank") + "-choices": "8, 16",
        prefix_of(formset, "loraRank") + "-default": "16",
        prefix_of(formset, "learningRate") + "-default": "2e-6",
        prefix_of(formset, "loraTargetModules") + "-default": "self_attn.q_proj, self_attn.k_proj",
    }
    assert operator.post(url, data | changes).status_code == 302
    rows = {
        row.key: row
        for row in Offer.objects.get(base_model__name="CodeLlama-7B", method="LoRA").hyperparameters.all()
    }
    assert (rows["loraRank"].default, rows["loraRank"].choices) == (16, [8, 16])
    assert rows["learningRate"].default == 2e-6
    assert rows["loraTargetModules"].default == ["self_attn.q_proj", "self_attn.k_proj"]


@pytest.mark.parametrize(
    ("key", "changes", "field"),
    [
        ("epoch", {"default": "51"}, "default"),
        ("epoch", {"maximum": "5000"}, "maximum"),
        ("loraRank", {"choices": "8, x"}, "choices"),
        ("loraRank", {"choices": "0, 64"}, "choices"),
        ("schedulerName", {"minimum": "1"}, "minimum"),
    ],
)
def test_wrong_figures_are_refused_at_the_field(operator, key, changes, field):
    assert field in errors_after(operator, key, **changes)


def test_a_hyperparameter_that_could_never_show_is_refused(operator):
    url, data, formset = offer_form(operator, "ERNIE-Speed-8K", "LoRA")
    scheduler = prefix_of(formset, "schedulerName")
    response = operator.post(url, data | {f"{scheduler}-choices": "linear, polynomial"})
    assert refused_keys(response) == {"numCycles"}


def test_one_that_shows_only_with_another_does_not_stay_without_it(operator):
    url, data, formset = offer_form(operator, "ERNIE-Speed-8K", "LoRA")
    stopping = prefix_of(formset, "earlyStopping")
    response = operator.post(url, data | {f"{stopping}-DELETE": "on"})
    assert refused_keys(response) == {
        "earlyStopMetric",
        "earlyStoppingThreshold",
        "earlyStoppingPatience",
    }


def test_defaults_that_do_not_go_together_are_refused(operator):
    url, data, formset = offer_form(operator, "ERNIE-Speed-8K", "LoRA")
    changes = {
        prefix_of(formset, "earlyStopping") + "-default": "True",
        prefix_of(formset, "validationStep") + "-default": "0",
    }
    response = operator.post(url, data | changes)
    assert refused_keys(response) == {"earlyStopping"}


def test_a_lora_hyperparameter_is_refused_under_full_fine_tuning(operator):
    url, data, _ = offer_form(operator, "ERNIE-Speed-8K", "LoRA")
    response = operator.post(url, data | {"method": "FullFineTuning"})
    assert refused_keys(response) == {"loraRank", "loraAllLinear"}


def test_a_place_where_no_weights_can_lie_is_refused_at_the_field(operator):
    response = post_base_model(operator, {"weights_kind": "directory", "weights_location": "relative/path"})
    assert "weights_location" in response.context["adminform"].form.errors


def test_weights_can_be_bound(operator):
    binding = {
        "weights_kind": "hub",
        "weights_location": "baidu/ERNIE-4.5-0.3B-PT",
        "weights_revision": "main",
    }
    assert post_base_model(operator, binding).status_code == 302
    assert BaseModel.objects.get(name="ERNIE-Speed-8K").is_bound


def post_base_model(operator: Client, binding: dict[str, str]):
    base_model = BaseModel.objects.get(name="ERNIE-Speed-8K")
    url = reverse("admin:catalog_basemodel_change", args=[base_model.pk])
    data, _ = read_form(operator, url)
    return operator.post(url, data | binding)


@pytest.mark.parametrize("name", ["modelfamily", "basemodel", "offer"])
def test_lists_can_be_searched_and_filtered(operator, name, django_assert_max_num_queries):
    url = reverse(f"admin:catalog_{name}_changelist")
    with django_assert_max_num_queries(14):
        response = operator.get(url, {"q": "Speed"})
    assert response.status_code == 200
    assert "ERNIE-Speed" in response.text.replace("ERNIE Speed", "ERNIE-Speed")


def test_base_models_are_found_by_whether_they_are_bound(operator):
    BaseModel.objects.filter(name="CodeLlama-7B").update(
        weights_kind="directory", weights_location="/srv/codellama"
    )
    url = reverse("admin:catalog_basemodel_changelist")
    assert list(
        operator.get(url, {"bound": "yes"}).context["cl"].queryset.values_list("name", flat=True)
    ) == ["CodeLlama-7B"]
    assert operator.get(url, {"bound": "no"}).context["cl"].queryset.count() == 2


def test_a_family_page_leads_to_its_base_models(operator):
    family = ModelFamily.objects.get(key="ernie-speed")
    page = operator.get(reverse("admin:catalog_modelfamily_change", args=[family.pk])).text
    assert "ERNIE-Speed-Pro-128K" in page


def test_strangers_do_not_get_in(alice, client_of):
    response = client_of(alice).get(reverse("admin:catalog_offer_changelist"))
    assert response.status_code == 302
