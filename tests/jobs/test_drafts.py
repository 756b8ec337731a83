"""What is typed into the form of a run is found again, and goes when it is submitted or discarded."""

import pytest
from django.test import Client
from django.urls import reverse

from jobs.models import Draft, Job, RunState

CREATE = reverse("jobs:create")
SAVE = reverse("jobs:save_draft")
DISCARD = reverse("jobs:discard_draft")


@pytest.fixture
def client(client_of, alice):
    return client_of(alice)


@pytest.fixture
def filled(base_model, make_version):
    return {
        "name": "support bot",
        "type": "text2text",
        "base_model": base_model.name,
        "method": "LoRA",
        "source": make_version(120).uid,
        "hp-epoch": "7",
        "offer": str(base_model.offers.get().pk),
    }


def test_a_draft_is_restored_with_everything(client, filled):
    saved = client.post(SAVE, filled | {"csrfmiddlewaretoken": "secret"}, headers={"HX-Request": "true"})
    assert "Draft saved" in saved.text
    assert "csrfmiddlewaretoken" not in Draft.objects.get().fields
    page = client.get(CREATE)
    form = page.context["form"]
    assert "Your draft was restored." in page.text
    assert (form["name"].value(), form["hp-epoch"].value()) == ("support bot", "7")
    assert [version.uid for version in form.chosen_versions] == [filled["source"]]
    assert not form.errors


def test_there_is_one_draft_a_person_and_job(client, client_of, charlie, filled, make_run):
    run = make_run(RunState.DONE)
    for name in ("first", "second"):
        client.post(SAVE, filled | {"name": name})
    client.post(f"{SAVE}?job={run.job.uid}", filled)
    client_of(charlie).post(SAVE, {"name": "mine"})
    assert sorted(draft.name for draft in Draft.objects.filter(job=None)) == ["mine", "second"]
    assert Draft.objects.get(job=run.job).user.username == "alice"


def test_submitting_takes_the_draft_away(client, filled):
    client.post(SAVE, filled)
    assert client.post(CREATE, filled).status_code == 302
    assert not Draft.objects.exists()


def test_a_refused_form_is_kept_as_a_draft(client, filled):
    assert client.post(CREATE, filled | {"hp-epoch": "999"}).status_code == 422
    assert client.get(CREATE).context["form"]["hp-epoch"].value() == "999"


def test_discarding_opens_the_form_anew(client, filled):
    client.post(SAVE, filled)
    page = client.post(DISCARD, follow=True)
    assert "support bot" not in page.text
    assert not Draft.objects.exists()


def test_an_address_goes_before_the_draft_and_says_so(client, filled, base_model):
    client.post(SAVE, filled)
    page = client.get(CREATE, {"base_model": base_model.name})
    assert "Continue the draft" in page.text
    assert page.context["form"]["name"].value() is None


def test_the_list_shows_what_is_unfinished(client, filled, make_run):
    run = make_run(RunState.DONE)
    client.post(SAVE, filled | {"name": "half a bot"})
    client.post(f"{SAVE}?job={run.job.uid}", filled)
    page = client.get(reverse("jobs:list"))
    assert "half a bot" in page.text
    assert reverse("jobs:new_run", args=[run.job.uid]) in page.text


def test_too_long_and_nul_break_nothing(client, filled):
    assert "too long" in client.post(SAVE, {"description": "x" * 300_000}).text
    assert not Draft.objects.exists()
    client.post(SAVE, {"name": "a\0b"})
    assert Draft.objects.get().name == "ab"


def test_drafts_require_write_access_and_post(client, client_of, bob, charlie, make_run):
    job = make_run(RunState.DONE).job
    for address in (SAVE, DISCARD):
        assert client_of(bob).post(address).status_code == 403
        assert client.get(address).status_code == 405
        assert client_of(charlie).post(f"{address}?job={job.uid}").status_code == 404
    assert Job.objects.count() == 1


def test_htmx_is_told_that_the_session_ended(filled):
    headers = {"HX-Request": "true"}
    assert Client().post(SAVE, filled, headers=headers).status_code == 401
    assert Client(enforce_csrf_checks=True).post(SAVE, filled, headers=headers).status_code == 401
    assert Client().post(SAVE, filled).status_code == 302


def test_the_page_is_not_stored(client, base_model):
    assert "no-store" in client.get(CREATE)["Cache-Control"]
