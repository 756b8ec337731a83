"""新建任务: the next run of a job. What the job fixes, and what the latest run fills in."""

import pytest
from django.urls import reverse

from catalog.models import BaseModel, ModelFamily, Offer, WeightsKind
from jobs.models import Job, Publication, Run, RunSource, RunState


@pytest.fixture
def client(client_of, alice):
    return client_of(alice)


@pytest.fixture
def other_family(db) -> BaseModel:
    """A bound base model of another family, with a method without hyperparameters."""
    family = ModelFamily.objects.create(key="other", name="Other", model_type="text2text", order=9)
    model = BaseModel.objects.create(
        family=family, name="Other-8K", weights_kind=WeightsKind.DIRECTORY, weights_location="/nowhere/other"
    )
    Offer.objects.create(base_model=model, method="LoRA")
    return model


@pytest.fixture
def finished(make_run, make_version) -> Run:
    """V1: done, with everything set to something unusual."""
    run = make_run(
        RunState.DONE,
        hyperparameters={"epoch": 4, "learningRate": 5e-4, "loggingSteps": 1},
        split_ratio=7,
        publication=Publication.PUBLISHED,
        publish_name="bot",
    )
    RunSource.objects.create(run=run, version=make_version(150), sampling_rate=2.5)
    Job.objects.filter(pk=run.job_id).update(next_version=2)
    return run


def address(run: Run) -> str:
    return reverse("jobs:new_run", args=[run.job.uid])


def test_it_is_filled_in_like_the_latest_run(client, finished):
    form = client.get(address(finished)).context["form"]
    configuration = form.configuration
    assert configuration.hyperparameters == finished.hyperparameters
    assert [source.sampling_rate for source in configuration.sources] == [2.5]
    assert (configuration.split_ratio, configuration.auto_publish, configuration.model_name) == (
        7,
        True,
        "bot",
    )
    assert form.problems == {}


def test_values_that_are_not_offered_any_more_give_way_to_the_defaults(client, finished):
    finished.base_model.offers.get().hyperparameters.filter(key="epoch").update(maximum=3)
    assert client.get(address(finished)).context["form"].configuration.hyperparameters["epoch"] == 1


def test_a_test_set_of_its_own_is_filled_in(client, finished, make_version):
    finished.test_version = make_version(30, name="questions")
    finished.split_ratio = 0
    finished.save()
    form = client.get(address(finished)).context["form"]
    assert form.configuration.test_version == finished.test_version


def test_it_starts_the_next_run_of_the_job(client, finished):
    source = finished.sources.get().version
    typed = {
        "base_model": "Toy-8K",
        "method": "LoRA",
        "source": source.uid,
        "name": "stolen",
        "type": "text2image",
    }
    answer = client.post(address(finished), typed)
    run = Run.objects.exclude(pk=finished.pk).get()
    assert answer.url == reverse("jobs:run", args=[run.uid])
    assert (run.job, run.version) == (finished.job, 2)
    assert (run.job.name, run.job.model_type) == ("support bot", "text2text")


def test_name_and_type_are_shown_and_no_fields(client, finished):
    page = client.get(address(finished))
    assert "support bot" in page.text
    assert 'name="name"' not in page.text and 'name="type"' not in page.text


def test_the_family_is_locked_while_a_run_is_active(client, finished, make_run, other_family):
    make_run(RunState.RUNNING)
    page = client.get(address(finished))
    assert 'id="id_family_lock"' in page.text
    assert page.context["form"].choice.base_model.name == "Toy-8K"
    typed = {"family": "other", "base_model": "Other-8K", "method": "LoRA"}
    answer = client.post(address(finished), typed | {"source": finished.sources.get().version.uid})
    assert "still active on Toy" in answer.context["form"].errors["base_model"][0]
    assert Run.objects.count() == 2


def test_the_family_may_change_once_no_run_is_active(client, finished, other_family):
    page = client.get(address(finished))
    assert 'id="id_family_lock"' not in page.text
    typed = {"family": "other", "base_model": "Other-8K", "method": "LoRA"}
    client.post(address(finished), typed | {"source": finished.sources.get().version.uid})
    assert Run.objects.latest("pk").base_model == other_family


def test_a_swap_knows_the_job(client, finished, make_run, other_family):
    make_run(RunState.WAITING)
    panel = reverse("jobs:panel") + f"?job={finished.job.uid}"
    form = client.post(panel, {"family": "other", "base_model": "Other-8K"}).context["form"]
    assert form.choice.base_model.name == "Toy-8K"


def test_it_requires_write_access(client_of, bob, finished):
    panel = reverse("jobs:panel") + f"?job={finished.job.uid}"
    assert client_of(bob).get(address(finished)).status_code == 403
    assert client_of(bob).post(address(finished)).status_code == 403
    assert client_of(bob).post(panel).status_code == 403


def test_strangers_learn_nothing(client_of, charlie, finished):
    panel = reverse("jobs:panel") + f"?job={finished.job.uid}"
    assert client_of(charlie).get(address(finished)).status_code == 404
    assert client_of(charlie).post(panel).status_code == 404
