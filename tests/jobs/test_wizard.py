"""The page that creates a job: what it shows for a choice, what it keeps, what it refuses."""

import pytest
from django.urls import reverse

from jobs.models import Job, Run, RunState

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
