"""The form on a finished run's page that publishes its result."""

import pytest
from django.urls import reverse

from catalog.models import Model
from jobs.models import Publication, Run, RunState


@pytest.fixture
def run(make_run) -> Run:
    return make_run(RunState.DONE)


def address(run: Run) -> str:
    return reverse("jobs:publish_run", args=[run.uid])


def page(client, run: Run) -> str:
    return client.get(reverse("jobs:run", args=[run.uid])).text


def test_a_new_name_makes_a_new_model(client_of, alice, run):
    client = client_of(alice)
    assert address(run) in page(client, run)
    answer = client.post(address(run), {"model_name": " helper "}, follow=True)
    run.refresh_from_db()
    assert (str(run.model_version), run.publication) == ("helper V1", Publication.PENDING)
    assert "is being published as" in answer.text
    assert address(run) not in answer.text


def test_the_name_of_a_model_gives_it_its_next_version(client_of, alice, workspace, run):
    Model.objects.create(workspace=workspace, name="helper", model_type="text2text", next_version=4)
    client = client_of(alice)
    assert '<option value="helper">' in page(client, run)
    client.post(address(run), {"model_name": "helper"})
    run.refresh_from_db()
    assert str(run.model_version) == "helper V4"


@pytest.mark.parametrize("name", ["", "no/slash", "a\0b/", "x" * 51, "painter"])
def test_a_bad_name_comes_back_with_the_reason_at_it(client_of, alice, workspace, run, name):
    Model.objects.create(workspace=workspace, name="painter", model_type="text2image")
    answer = client_of(alice).post(address(run), {"model_name": name})
    assert answer.status_code == 422
    assert 'id="id_model_name_error"' in answer.text
    assert f'value="{name}"'.replace("\0", "") in answer.text
    run.refresh_from_db()
    assert (run.publication, run.model_version) == (Publication.OFF, None)


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.FAILED, RunState.STOPPED])
def test_only_what_is_done_can_be_published(client_of, alice, make_run, state):
    run = make_run(state)
    client = client_of(alice)
    assert address(run) not in page(client, run)
    assert client.post(address(run), {"model_name": "helper"}).status_code == 422
    assert not Model.objects.exists()


def test_what_was_not_published_automatically_keeps_its_name(client_of, alice, make_run):
    note = {"code": "name_taken", "params": {"name": "helper"}}
    run = make_run(
        RunState.DONE, publication=Publication.SKIPPED, publish_name="helper", publication_note=note
    )
    assert 'value="helper"' in page(client_of(alice), run)


def test_only_members_who_write_publish(client_of, alice, bob, charlie, run):
    assert client_of(alice).get(address(run)).status_code == 405
    assert client_of(bob).post(address(run), {"model_name": "x"}).status_code == 403
    assert client_of(charlie).post(address(run), {"model_name": "x"}).status_code == 404
    assert address(run) not in page(client_of(bob), run)
