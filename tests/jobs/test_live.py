"""Polls of open pages: what has been seen is not sent again, and what is new is made once for all viewers."""

import re

import pytest
from django.core.cache import cache
from django.urls import reverse

from jobs import lifecycle
from jobs.models import Pool, RunState
from jobs.views import runs as run_views

HTMX = {"hx-request": "true"}


@pytest.fixture
def running(make_run):
    return make_run(RunState.RUNNING, step=5, total_steps=10, events_offset=100)


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch):
    monkeypatch.setattr("jobs.live.time.time", lambda: 1_000_000.0)


def poll(client, run, seen=""):
    """The answer to a poll, and the word that it leaves the page with."""
    address = reverse("jobs:progress", args=[run.uid]) + f"?state={run.state}"
    answer = client.get(address, headers=HTMX | {"x-seen": seen})
    found = re.search(r'"x-seen": "(\w+)"', answer.text)
    return answer, found[1] if found else seen


def test_what_the_page_has_seen_is_not_sent_again(client_of, alice, running, django_assert_num_queries):
    client = client_of(alice)
    _first, seen = poll(client, running)
    # session, user, what there is to see
    with django_assert_num_queries(3):
        answer, _seen = poll(client, running, seen)
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    "change",
    [
        {"events_offset": 200},
        {"state": RunState.WAITING},
        {"attempt": 2},
        {"priority": 1},
        {"phase": "saving"},
    ],
)
def test_every_change_of_the_run_is_news(client_of, alice, running, change):
    client = client_of(alice)
    _first, seen = poll(client, running)
    type(running).objects.update(**change)
    assert poll(client, running, seen)[0].status_code == 200


def test_an_entry_of_the_timeline_is_news(client_of, alice, running):
    client = client_of(alice)
    _first, seen = poll(client, running)
    lifecycle.note(running, "taken_over", host="gpu-2")
    assert poll(client, running, seen)[0].status_code == 200


def test_the_clock_goes_on_while_nothing_happens(client_of, alice, running, monkeypatch):
    client = client_of(alice)
    _first, seen = poll(client, running)
    monkeypatch.setattr("jobs.live.time.time", lambda: 1_000_030.0)
    assert poll(client, running, seen)[0].status_code == 200


def test_a_place_in_the_queue_that_moves_is_news(client_of, alice, make_run):
    Pool.objects.create(name="here", slots=1)
    first, second = make_run(), make_run()
    client = client_of(alice)
    _first, seen = poll(client, second)
    assert poll(client, second, seen)[0].status_code == 204
    lifecycle.request_stop(first, alice)
    cache.clear()  # a place is looked up again after 2 s
    assert poll(client, second, seen)[0].status_code == 200


def test_news_is_made_once_for_all_who_look(client_of, alice, bob, running, monkeypatch):
    made = []
    live = run_views._live
    monkeypatch.setattr(run_views, "_live", lambda run: made.append(run) or live(run))
    address = reverse("jobs:progress", args=[running.uid])
    page = client_of(alice).get(reverse("jobs:run", args=[running.uid])).context
    tokens = {"state": page["state_token"], "parts": page["parts_token"]}
    made.clear()
    answers = [client_of(person).get(address, tokens, headers=HTMX).text for person in (alice, bob, alice)]
    assert len(made) == 1
    assert len(set(answers)) == 1 and "5 / 10" in answers[0]


def test_each_reader_gets_news_in_their_language(client_of, alice, bob, running):
    bob.language = "zh-hans"
    bob.save()
    english, chinese = (poll(client_of(person), running)[0].text for person in (alice, bob))
    assert "Elapsed" in english and "Elapsed" not in chinese


def test_strangers_get_nothing_of_it(client_of, alice, charlie, running):
    _first, seen = poll(client_of(alice), running)
    assert poll(client_of(charlie), running, seen)[0].status_code == 404


@pytest.mark.parametrize("page", ["list", "detail"])
def test_lists_are_sent_again_when_a_run_on_them_has_moved(client_of, alice, running, page):
    address = reverse(f"jobs:{page}", args=[running.job.uid] if page == "detail" else [])
    client = client_of(alice)
    seen = re.search(r'"x-seen": "(\w+)"', client.get(address, headers=HTMX).text)[1]
    assert client.get(address, headers=HTMX | {"x-seen": seen}).status_code == 204
    type(running).objects.update(events_offset=200, step=6)
    assert client.get(address, headers=HTMX | {"x-seen": seen}).status_code == 200
    assert "<!doctype html>" in client.get(address, headers={"x-seen": seen}).text


def test_a_list_is_sent_again_when_a_waiting_run_on_it_is_paused(client_of, alice, make_run):
    run, client, address = make_run(), client_of(alice), reverse("jobs:list")
    seen = re.search(r'"x-seen": "(\w+)"', client.get(address, headers=HTMX).text)[1]
    assert client.get(address, headers=HTMX | {"x-seen": seen}).status_code == 204
    lifecycle.request_pause(run, alice)
    assert client.get(address, headers=HTMX | {"x-seen": seen}).status_code == 200
