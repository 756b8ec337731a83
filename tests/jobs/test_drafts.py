"""What is typed into the form of a run is found again, and goes when it is submitted or discarded."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from jobs import drafts
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


def key_in(page) -> str:
    return re.search(r'name="draft" value="(draft-[a-z0-9]{12})"', page.text).group(1)


def test_two_tabs_keep_a_draft_each(client, filled):
    keys = [key_in(client.get(CREATE)) for _tab in range(2)]
    for round_ in ("", " bot"):
        for number, key in enumerate(keys):
            client.post(SAVE, filled | {"draft": key, "name": f"tab {number}{round_}"})
    assert sorted(draft.name for draft in Draft.objects.all()) == ["tab 0 bot", "tab 1 bot"]
    for number, key in enumerate(keys):
        page = client.get(CREATE, {"draft": key})
        assert page.context["form"]["name"].value() == f"tab {number} bot"


def test_what_another_tab_has_open_is_offered_and_not_taken(client, filled):
    key = key_in(client.get(CREATE))
    client.post(SAVE, filled | {"draft": key})
    page = client.get(CREATE)
    assert page.context["form"]["name"].value() is None
    assert "You have another draft." in page.text and f"?draft={key}" in page.text


@pytest.mark.parametrize("left", ["typed", "unchanged"])
def test_a_page_that_was_left_is_found_again_at_the_bare_address(client, filled, left):
    key = key_in(client.get(CREATE))
    client.post(SAVE, filled | {"draft": key})
    client.post(
        SAVE, filled | {"draft": key, "left": left} if left == "typed" else {"draft": key, "left": left}
    )
    assert client.get(CREATE).context["form"]["name"].value() == "support bot"


def test_a_page_that_fell_silent_is_found_again(client, filled):
    client.post(SAVE, filled | {"draft": key_in(client.get(CREATE))})
    Draft.objects.update(updated_at=timezone.now() - drafts.SILENCE - timedelta(minutes=1))
    assert client.get(CREATE).context["form"]["name"].value() == "support bot"


def test_of_several_left_drafts_none_is_guessed_at(client, filled):
    for name in ("first", "second"):
        client.post(SAVE, filled | {"name": name})
    page = client.get(CREATE)
    assert page.context["form"]["name"].value() is None
    assert "You have 2 other drafts." in page.text and "first" in page.text and "second" in page.text


def test_drafts_belong_to_a_person_and_a_job(client, client_of, charlie, filled, make_run):
    run = make_run(RunState.DONE)
    client.post(f"{SAVE}?job={run.job.uid}", filled | {"name": "next run"})
    client_of(charlie).post(SAVE, {"name": "mine"})
    assert client.get(CREATE).context["form"]["name"].value() is None
    draft = Draft.objects.get(job=run.job)
    assert draft.user.username == "alice"
    client_of(charlie).post(f"{DISCARD}?draft={draft.key}")
    assert Draft.objects.count() == 2


def test_a_draft_that_is_gone_leaves_the_form_of_a_further_run_filled_in(client, make_run):
    run = make_run(RunState.DONE, hyperparameters={"epoch": 9})
    page = client.get(reverse("jobs:new_run", args=[run.job.uid]), {"draft": drafts.new_key()})
    assert page.context["form"]["hp-epoch"].value() == "9"


def test_only_the_newest_drafts_are_kept(client, filled, monkeypatch):
    monkeypatch.setattr(drafts, "MOST_KEPT", 2)
    for name in ("first", "second", "third"):
        client.post(SAVE, filled | {"name": name})
    assert {draft.name for draft in Draft.objects.all()} == {"second", "third"}


def test_submitting_takes_the_draft_away(client, filled):
    key = key_in(client.get(CREATE))
    client.post(SAVE, filled | {"draft": key})
    assert client.post(CREATE, filled | {"draft": key}).status_code == 302
    assert not Draft.objects.exists()


def test_a_refused_form_is_kept_as_a_draft(client, filled):
    assert client.post(CREATE, filled | {"hp-epoch": "999"}).status_code == 422
    assert client.get(CREATE).context["form"]["hp-epoch"].value() == "999"


def test_discarding_opens_the_form_anew(client, filled):
    client.post(SAVE, filled)
    page = client.post(f"{DISCARD}?draft={Draft.objects.get().key}", follow=True)
    assert "support bot" not in page.text
    assert not Draft.objects.exists()


def test_discarding_asks_first(client, filled):
    """The button opens a question, and only its form takes the draft away: from the form and from the list."""
    client.post(SAVE, filled)
    key = Draft.objects.get().key
    for page, back in ((client.get(CREATE), ""), (client.get(reverse("jobs:list")), "&amp;back=list")):
        assert f'data-dialog="discard-{key}"' in page.text
        dialog = page.text.partition(f'<dialog class="dialog" id="discard-{key}"')[2]
        assert f'action="{DISCARD}?draft={key}{back}"' in dialog.partition("</dialog>")[0]
        assert page.text.count(f"{DISCARD}?draft={key}") == 1


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


def test_several_drafts_are_folded_away_in_the_list(client, filled):
    client.post(SAVE, filled)
    assert "<details>" not in client.get(reverse("jobs:list")).text
    client.post(SAVE, filled | {"name": "another"})
    assert "You have 2 drafts." in client.get(reverse("jobs:list")).text


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
