"""A large log: any place of it, a search through all of it, without reading the whole."""

import re

import pytest
from django.urls import reverse

from datasets.browsing import Query
from jobs import log_search
from jobs.log_search import search
from jobs.log_tail import FIRST_BYTES, log_path, read_around, read_before
from jobs.models import RunState

HTMX = {"headers": {"hx-request": "true"}}
LINES = 20_000


@pytest.fixture
def run(make_run):
    return make_run(RunState.DONE)


@pytest.fixture
def log(run):
    """Returns a function that writes the run's log, by default 20,000 numbered lines."""

    def write(text: str | bytes = "".join(f"step {number} 训练\n" for number in range(LINES))):
        path = log_path(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture
def page(client_of, alice, run):
    """Returns a function that asks for the log's page."""
    client = client_of(alice)
    return lambda headers=None, **query: client.get(
        reverse("jobs:log", args=[run.uid]), query, **(headers or {})
    )


# --- Places ------------------------------------------------------------------------------------------------------


def test_going_backwards_meets_every_line_once(log):
    path = log()
    pieces, end = [], path.stat().st_size
    while end:
        piece = read_before(path, end)
        assert piece.end == end and piece.end - piece.start <= FIRST_BYTES
        pieces.append(piece.text)
        end = piece.start
    assert "".join(reversed(pieces)) == path.read_text()


def test_a_place_is_shown_with_what_lies_around_it(log):
    path = log()
    at = path.read_bytes().find("step 10000 训".encode()) + 6
    piece = read_around(path, at)
    assert piece.text[piece.line] == "step 10000 训练"
    assert piece.text.startswith("step ") and piece.text.endswith("训练\n")
    assert "step 9999 训练\nstep 10000 训练\nstep 10001 训练\n" in piece.text


@pytest.mark.parametrize("at", [0, 5, 10**9])
def test_a_place_at_the_edge_is_shown_too(log, at):
    piece = read_around(log("ab\ncd"), at)
    assert (piece.text, piece.start, piece.end) == ("ab\ncd", 0, 5)


def test_one_line_without_end_is_shown_in_windows(log):
    path = log("x" * 300_000)
    assert len(read_before(path, 300_000).text) == FIRST_BYTES
    assert len(read_around(path, 150_000).text) == FIRST_BYTES


def test_the_page_leads_back_and_forth_and_to_a_share(log, page):
    log()
    end = page()
    earlier = re.search(r'href="\?before=(\d+)"', end.text)[1]
    before = page(before=earlier)
    assert before.context["piece"].end == int(earlier)
    assert f"?after={earlier}" in before.text
    middle = page(at="50%").context["piece"]
    assert abs(middle.start + middle.end - middle.size) < 3 * FIRST_BYTES
    assert "step 0 训练" in page(at="0").text


@pytest.mark.parametrize("at", ["half", "-5%", "1.2.3%", "nan", "²%", "1.5"])
def test_a_place_that_is_none_is_told_at_its_field(log, page, at):
    log()
    answer = page(at=at)
    assert answer.status_code == 422
    assert "Enter a number of bytes, or a share such as 50%." in answer.text
    assert f'value="{at}"' in answer.text and f"step {LINES - 1}" in answer.text


def test_only_the_end_of_an_active_runs_log_follows_live(log, page, run):
    log()
    run.state = RunState.RUNNING
    run.save()
    assert 'hx-trigger="every 2s"' in page().text
    assert 'hx-trigger="every 2s"' not in page(at="50%").text


def test_a_poll_without_news_has_no_content(log, page, run):
    size = log().stat().st_size
    run.state = RunState.RUNNING
    run.save()
    assert page(HTMX, after=size).status_code == 204
    assert page(HTMX, after=size - 5).status_code == 200


def test_a_log_on_another_machine_is_not_called_empty(page, run):
    run.summary = {"host": "gpu-07"}
    run.save()
    assert "The log lies on gpu-07" in page().text


# --- Search ------------------------------------------------------------------------------------------------------


def test_a_search_finds_lines_with_their_places(log):
    path = log()
    found = search(path, Query("STEP 777 "))
    (hit,) = found.hits
    assert path.read_bytes()[hit.offset :].startswith(b"step 777 ")
    assert hit.pieces == [("step 777 ", True), ("训练", False)]
    assert not found.is_cut and found.end == path.stat().st_size


@pytest.mark.parametrize("seconds", [0, None])
def test_looks_that_follow_each_other_find_every_line_once(log, monkeypatch, seconds):
    monkeypatch.setattr(log_search, "BLOCK_BYTES", 10_000)
    path = log()
    found, start = [], 0
    while True:
        look = search(path, Query(r"^step \d*99 ", is_pattern=True), start, limit=7, seconds=seconds)
        found += [hit.offset for hit in look.hits]
        start = look.end
        if not look.is_cut:
            break
    data = path.read_bytes()
    assert found == [match.start() for match in re.finditer(rb"(?m)^step \d*99 ", data)]


def test_bytes_that_are_no_text_do_not_shift_what_is_found(log):
    path = log(b"\xff\xfe broken\n10%\r20%\rfound it\nfound no end")
    assert [hit.offset for hit in search(path, Query("found")).hits] == [18, 27]


def test_a_long_line_is_shown_around_its_match(log):
    (hit,) = search(log("a" * 5000 + "needle" + "b" * 5000), Query("needle")).hits
    assert ("needle", True) in hit.pieces
    assert sum(len(text) for text, _match in hit.pieces) < 500


def test_the_search_page_leads_to_the_line(log, page):
    log()
    answer = page(q="step 12345 ")
    assert "<mark>step 12345 </mark>" in answer.text
    assert "Searched all" in answer.text
    address = re.search(r'href="\?([^"#]*at=(\d+))#here"', answer.text)
    shown = page(q="step 12345 ", at=address[2])
    assert '<span class="log-line" id="here"><mark>step 12345 </mark>训练</span>' in shown.text


def test_a_search_that_is_not_through_says_how_far_it_came_and_goes_on(log, page, monkeypatch):
    monkeypatch.setattr(log_search, "BLOCK_BYTES", 10_000)
    monkeypatch.setattr(log_search, "SECONDS", 0)
    log()
    answer = page(q="step 12345 ")
    assert "Searched from 0" in answer.text and "Search on" in answer.text
    assert "load delay:200ms" in answer.text
    more = page(HTMX, q="step 12345 ", since=0, looks=1, **{"from": answer.context["found"].end})
    assert "<html" not in more.text and more.context["found"].start == answer.context["found"].end


def test_an_expression_with_a_mistake_is_told_at_its_field(log, page):
    log()
    answer = page(q="(unclosed", regex="on")
    assert answer.status_code == 422
    assert "This is no regular expression: missing )" in answer.text


def test_what_is_found_is_text(log, page):
    log("<b>bold</b>\n")
    assert "&lt;<mark>b</mark>&gt;" in page(q="b").text
