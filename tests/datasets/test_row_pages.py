"""The rows page: what it shows, finds, marks, and to whom."""

import json
from io import BytesIO
from urllib.parse import urlencode

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse

from datasets.columns import FLAG_BITS, Writer
from datasets.models import DatasetVersion, VersionState

HTMX = {"HX-Request": "true"}


@pytest.fixture
def filled(version):
    """Returns a function that gives the version these texts as rows of one turn."""

    def fill(*texts: str, flags: int = 0, file: str = "a.jsonl") -> DatasetVersion:
        buffer = BytesIO()
        with Writer(buffer) as writer:
            for place, text in enumerate(texts, 1):
                messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": text}]
                line = json.dumps({"messages": messages}, ensure_ascii=False, separators=(",", ":")).encode()
                writer.add(line, 1, len(text) + 8, flags, file, place)
        version.rows_path = default_storage.save(
            f"datasets/{version.uid}/rows", ContentFile(buffer.getvalue())
        )
        version.row_count, version.state = len(texts), VersionState.DRAFT
        version.save()
        return version

    return fill


def address(version: DatasetVersion, **query: object) -> str:
    return f"{reverse('datasets:rows', args=[version.uid])}?{urlencode(query)}"


def numbers(response) -> list[int]:
    return [row.number for row in response.context["rows"]]


def test_pages_follow_each_other_both_ways(client_of, alice, filled) -> None:
    version, client = filled(*map(str, range(50))), client_of(alice)
    first = client.get(address(version))
    assert numbers(first) == list(range(1, 21))
    assert not first.context["previous"]
    second = client.get(reverse("datasets:rows", args=[version.uid]) + first.context["next"])
    assert numbers(second) == list(range(21, 41))
    back = client.get(reverse("datasets:rows", args=[version.uid]) + second.context["previous"])
    assert numbers(back) == list(range(1, 21))
    last = client.get(address(version, row=41))
    assert numbers(last) == list(range(41, 51))
    assert not last.context["next"]


def test_a_row_number_beyond_the_end_leads_to_the_last_row(client_of, alice, filled) -> None:
    assert numbers(client_of(alice).get(address(filled("a", "b"), row=10**9))) == [2]


@pytest.mark.parametrize(
    "nonsense", ["row=x", "row=-1", "before=0", "row=" + "9" * 50, "turns_min=x", "flag=none"]
)
def test_nonsense_in_the_address_is_no_error_of_the_server(client_of, alice, filled, nonsense) -> None:
    assert client_of(alice).get(address(filled("a")) + nonsense).status_code == 200


def test_matches_are_marked_and_everything_else_is_escaped(client_of, alice, filled) -> None:
    version = filled("<b>Yeast</b> makes bread", "nothing")
    response = client_of(alice).get(address(version, q="<B>yEAST"))
    assert numbers(response) == [1]
    assert "<mark>&lt;b&gt;Yeast</mark>&lt;/b&gt; makes bread" in response.text


def test_a_bad_expression_is_told_at_its_field(client_of, alice, filled) -> None:
    response = client_of(alice).get(address(filled("a"), q="(", regex="on"), headers=HTMX)
    assert response.status_code == 422
    assert "missing ): (<" in response.text
    assert '<li id="id_q_error"><a href="#id_q">' in response.text
    page = client_of(alice).get(address(filled("a"), q="(", regex="on", turns_min="x")).text
    assert 'aria-invalid="true" aria-describedby="id_q_error"' in page
    assert 'aria-describedby="id_turns_min_error"' in page


def test_rows_tell_where_they_were_read(client_of, alice, filled) -> None:
    version = filled("one", "two", "three", file="b.jsonl")
    page = client_of(alice).get(address(version, before=3))
    assert [row.origin for row in page.context["rows"]] == ["b.jsonl:1", "b.jsonl:2"]
    assert "Read from b.jsonl:2" in page.text
    assert "Read from" not in client_of(alice).get(address(filled("one", file=""))).text


def test_a_look_that_ran_out_of_time_goes_on_in_place(client_of, alice, filled, monkeypatch) -> None:
    version = filled(*["hay"] * 30, "needle")
    monkeypatch.setattr("datasets.browsing.SECONDS", -1)
    monkeypatch.setattr("datasets.browsing.BATCH_ROWS", 10)
    client = client_of(alice)
    response = client.get(address(version, q="needle"))
    assert (response.context["last"], response.context["is_cut"]) == (10, True)
    assert "Search on" in response.text
    piece = client.get(reverse("datasets:rows", args=[version.uid]) + response.context["more"], headers=HTMX)
    assert "rows-after" in piece.text
    assert 'id="rows"' not in piece.text


def test_what_is_rare_is_looked_for_by_itself_for_a_while(client_of, alice, filled, monkeypatch) -> None:
    version = filled(*["hay"] * 30, "needle")
    monkeypatch.setattr("datasets.browsing.SECONDS", -1)
    monkeypatch.setattr("datasets.browsing.BATCH_ROWS", 10)
    monkeypatch.setattr("datasets.views.rows.MAX_LOOKS", 2)
    client, place = client_of(alice), f"{reverse('datasets:rows', args=[version.uid])}?q=n..dle&regex=on"
    seen = []
    while place:
        response = client.get(place, headers=HTMX)
        seen.append((response.context["last"], 'hx-trigger="load' in response.text))
        place = response.context["more"] and place.partition("?")[0] + response.context["more"]
    assert seen == [(10, True), (20, True), (30, False), (31, False)]
    assert "Searched rows 1–31 of 31" in response.text
    assert numbers(response) == [31]


def test_a_match_in_a_folded_message_is_open(client_of, alice, filled) -> None:
    version = filled("x" * 5000 + " needle")
    assert "message-start" in client_of(alice).get(address(version)).text
    assert "message-start" not in client_of(alice).get(address(version, q="needle")).text


def test_rows_with_a_warning_can_be_listed(client_of, alice, filled) -> None:
    version = filled("a", "b", flags=FLAG_BITS["phone_number"])
    assert numbers(client_of(alice).get(address(version, flag="phone_number"))) == [1, 2]
    assert numbers(client_of(alice).get(address(version, flag="duplicate"))) == []


def test_lost_rows_and_no_rows_are_told(client_of, alice, filled) -> None:
    version = filled("a")
    default_storage.delete(version.rows_path)
    assert "no longer in the storage" in client_of(alice).get(address(version)).text
    DatasetVersion.objects.update(rows_path="", state=VersionState.EMPTY)
    assert "No rows yet" in client_of(alice).get(address(version)).text


def test_viewers_see_rows_and_strangers_nothing(client_of, bob, charlie, filled) -> None:
    version = filled("a")
    assert client_of(bob).get(address(version)).status_code == 200
    assert client_of(bob).post(address(version)).status_code == 405
    assert client_of(charlie).get(address(version)).status_code == 404
