"""The page that creates a job: what it shows for a choice, what it keeps, what it refuses."""

import pytest
from django.urls import reverse

from catalog.models import BaseModel, Model, ModelFamily, Offer
from jobs.models import Job, Limits, Publication, Run, RunState
from jobs.training.trainers import TRAINERS

CREATE = reverse("jobs:create")


@pytest.fixture
def client(client_of, alice):
    return client_of(alice)


@pytest.fixture
def version(make_version):
    return make_version(120)


@pytest.fixture
def filled(base_model, version):
    """Everything that a run needs and nothing more."""
    return {
        "name": "support bot",
        "type": "text2text",
        "base_model": base_model.name,
        "method": "LoRA",
        "source": version.uid,
    }


def test_opens_with_a_model_chosen(client, base_model):
    page = client.get(CREATE)
    assert page.status_code == 200
    assert page.context["form"].choice.base_model == base_model


def test_creates_a_job_with_its_first_run(client, filled, version):
    answer = client.post(CREATE, filled | {"hp-epoch": "3", f"rate-{version.uid}": "2.5"})
    run = Run.objects.get()
    assert answer.url == reverse("jobs:run", args=[run.uid])
    assert (run.job.name, run.label, run.state) == ("support bot", "V1", RunState.WAITING)
    assert run.hyperparameters == {"epoch": 3, "learningRate": 3e-4, "loggingSteps": 1}
    assert [(source.version, source.sampling_rate) for source in run.sources.all()] == [(version, 2.5)]


def test_a_form_with_mistakes_comes_back_whole(client, filled, version):
    typed = filled | {
        "hp-epoch": "999",
        f"rate-{version.uid}": "77",
        "description": "a bot",
        "split_ratio": "7",
    }
    page = client.post(CREATE, typed)
    assert page.status_code == 422
    assert not Job.objects.exists()
    form = page.context["form"]
    assert set(form.errors) == {"hp-epoch", f"rate-{version.uid}"}
    for value in ("support bot", "999", "77", "a bot", "7"):
        assert value in page.text


def test_errors_are_listed_in_the_order_of_the_page(client, filled, version):
    wrong = {
        "name": "",
        "incremental": "on",
        "hp-epoch": "999",
        f"rate-{version.uid}": "77",
        "split_ratio": "99",
        "auto_publish": "on",
    }
    form = client.post(CREATE, filled | wrong).context["form"]
    listed = [field.name for field in form if field.errors]
    expected = ["name", "base_run", "hp-epoch", f"rate-{version.uid}", "split_ratio", "model_name"]
    assert listed == expected


def test_what_is_missing_is_listed_in_the_order_of_the_page(client, filled):
    typed = filled | {"name": "", "offer": Offer.objects.get().pk, "hp-epoch": "999", "split_ratio": "-1"}
    answer = client.post(reverse("jobs:panel"), typed, headers={"HX-Request": "true", "HX-Target": "summary"})
    assert [item.field for item in answer.context["summary"].missing] == ["name", "hp-epoch", "split_ratio"]


def test_values_that_were_not_sent_are_shown_with_their_defaults(client, filled):
    form = client.post(CREATE, filled | {"hp-epoch": "999"}).context["form"]
    assert [row.field.value() for row in form.hyperparameters] == ["999", "0.0003", "1"]
    assert form["split_ratio"].value() == "20"


def test_hyperparameters_of_another_model_are_shown_before_they_are_used(client, filled, base_model):
    """Without JavaScript, the fields on the screen may be those of the model chosen before."""
    page = client.post(CREATE, filled | {"offer": "999999", "hp-epoch": "2"})
    assert "base_model" in page.context["form"].errors
    again = filled | {"offer": str(base_model.offers.get().pk), "hp-epoch": "2"}
    assert client.post(CREATE, again).status_code == 302


def test_a_version_of_another_family_is_not_taken_for_the_chosen_one(client, filled, base_model):
    family = ModelFamily.objects.create(key="other", name="Other", model_type="text2text")
    Offer.objects.create(base_model=BaseModel.objects.create(family=family, name="Other-8K"), method="LoRA")
    form = client.post(CREATE, filled | {"family": "other"}).context["form"]
    assert "base_model" in form.errors
    assert form.choice.base_model.name == "Other-8K"


def test_no_weights_and_no_trainer_are_said_at_their_fields(client, filled, base_model, monkeypatch):
    base_model.weights_location = ""
    base_model.save()
    assert "base_model" in client.post(CREATE, filled).context["form"].errors
    ModelFamily.objects.update(model_type="text2image")
    monkeypatch.delitem(TRAINERS, "text2image")
    assert "type" in client.post(CREATE, filled | {"type": "text2image"}).context["form"].errors


def test_a_line_end_counts_as_one_character(client, filled):
    typed = "\r\n".join(["好" * 249, "好" * 250])
    assert client.post(CREATE, filled | {"description": typed}).status_code == 302
    assert len(Job.objects.get().description) == 500
    page = client.post(CREATE, filled | {"name": "second", "description": typed + "好"})
    assert "description" in page.context["form"].errors


def test_a_nul_is_refused_and_breaks_nothing(client, filled):
    typed = filled | {"name": "a\0b", "auto_publish": "on", "model_name": "c\0d", "description": "\0"}
    page = client.post(CREATE, typed)
    assert page.status_code == 422
    assert {"name", "model_name", "description"} <= set(page.context["form"].errors)


def test_a_name_that_is_taken_is_refused_at_the_name(client, filled):
    client.post(CREATE, filled)
    assert "name" in client.post(CREATE, filled).context["form"].errors
    assert Job.objects.count() == 1


def test_a_link_may_choose_model_and_data(client, base_model, version):
    page = client.get(CREATE, {"base_model": base_model.name, "method": "LoRA", "source": version.uid})
    assert page.context["form"].choice.offer == base_model.offers.get()
    assert page.context["form"].chosen_versions == [version]


def test_publishing_offers_the_models_there_are(client, filled, workspace):
    Model.objects.create(workspace=workspace, name="bot", model_type="text2text")
    Model.objects.create(workspace=workspace, name="painter", model_type="text2image")
    page = client.post(CREATE, filled | {"auto_publish": "on", "model_name": "no/slash"})
    assert page.context["model_names"] == ["bot"]
    assert "model_name" in page.context["form"].errors
    client.post(CREATE, filled | {"auto_publish": "on", "model_name": "bot"})
    assert Run.objects.get().publication == Publication.PENDING


def test_nothing_is_started_by_default_choices(client, filled):
    for missing in ("name", "base_model", "method", "source"):
        page = client.post(CREATE, {key: value for key, value in filled.items() if key != missing})
        assert missing in page.context["form"].errors
    assert not Run.objects.exists()


def test_update_shows_the_form_anew_and_starts_nothing(client, filled):
    page = client.post(CREATE, filled | {"update": "1"})
    assert page.status_code == 200
    assert not page.context["form"].errors
    assert not Run.objects.exists()


def test_it_requires_write_access(client_of, bob):
    assert client_of(bob).get(CREATE).status_code == 403
    assert client_of(bob).post(CREATE).status_code == 403
    assert client_of(bob).post(reverse("jobs:panel")).status_code == 403


def test_it_rejects_other_methods(client):
    assert client.put(CREATE).status_code == 405
    assert client.get(reverse("jobs:panel")).status_code == 405


def test_summary_says_that_it_will_wait_for_the_limits(client, filled, workspace):
    Limits.objects.create(workspace=workspace, device_hours=0)
    page = client.post(reverse("jobs:panel"), filled, headers={"HX-Request": "true", "HX-Target": "summary"})
    assert "will wait" in page.text and "0 of 0 device hours" in page.text
