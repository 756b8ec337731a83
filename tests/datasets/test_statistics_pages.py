"""The statistics page: figures, links to the rows, tokens by a base model."""

import pytest
from django.urls import reverse

from catalog.models import BaseModel, ModelFamily, WeightsKind
from datasets.models import CountState, DatasetVersion, TokenCount, VersionState

BARS = {"edges": [0, 100, 200], "counts": [3, 1], "max": 150, "mean": 60.0, "median": 50.0, "total": 240}
HTMX = {"HX-Request": "true"}


@pytest.fixture
def counted(version) -> DatasetVersion:
    """V1 with four rows and their figures."""
    version.state, version.rows_path, version.row_count = VersionState.DRAFT, "rows", 4
    version.turn_count, version.character_count, version.content_hash = 4, 240, "ab"
    version.statistics = {
        "characters": BARS,
        "turns": BARS,
        "languages": {"zh": 3, "en": 1},
        "duplicates": 1,
        "flags": {"phone_number": 2},
    }
    version.save()
    return version


@pytest.fixture
def base_model(db, tmp_path) -> BaseModel:
    """A base model bound to a directory with a tokenizer."""
    family = ModelFamily.objects.create(key="tiny", name="Tiny", model_type="text2text")
    (tmp_path / "tokenizer.json").write_text("{}")
    return BaseModel.objects.create(
        family=family,
        name="Tiny-1",
        context_length=150,
        weights_kind=WeightsKind.DIRECTORY,
        weights_location=str(tmp_path),
    )


def address(version: DatasetVersion, query: str = "") -> str:
    return reverse("datasets:statistics", args=[version.uid]) + query


def test_figures_are_shown_with_links_to_their_rows(client_of, alice, counted) -> None:
    page = client_of(alice).get(address(counted)).text
    assert "flag=phone_number" in page
    assert "language=zh" in page
    assert 'data-from="100" data-to="199" data-count="1"' in page
    assert "25% of the rows" in page


def test_without_rows_the_page_says_so(client_of, alice, version) -> None:
    assert "No figures yet" in client_of(alice).get(address(version)).text


def test_a_base_model_without_weights_cannot_be_chosen(client_of, alice, counted, base_model) -> None:
    BaseModel.objects.update(weights_kind=WeightsKind.NONE)
    page = client_of(alice).get(address(counted, "?model=Tiny-1")).text
    assert "No base model can count" in page
    assert "No weights are bound to this base model" in page
    assert "Count tokens" not in page


def test_a_count_is_asked_for_once(client_of, alice, counted, base_model) -> None:
    client, url = client_of(alice), reverse("datasets:count_tokens", args=[counted.uid])
    assert client.post(url, {"model": "Tiny-1"}).status_code == 302
    assert client.post(url, {"model": "Tiny-1"}).status_code == 302
    assert TokenCount.objects.get().state == CountState.WAITING
    fragment = client.get(address(counted, "?model=Tiny-1"), headers=HTMX).text
    assert "every 2s" in fragment
    assert "Waits for a worker" in fragment
    assert client.post(url, {"model": "nothing"}).status_code == 404


def test_a_count_marks_the_sequence_length_and_warns_of_what_the_model_cannot_read(
    client_of, alice, counted, base_model
) -> None:
    figures = BARS | {"cut": {"100": 2, "150": 1}, "rows": 4, "refused": 0, "hash": "ab"}
    TokenCount.objects.create(
        version=counted, base_model=base_model, state=CountState.DONE, total=240, figures=figures
    )
    page = client_of(alice).get(address(counted, "?model=Tiny-1&length=100"), headers=HTMX).text
    assert 'data-mark="100"' in page
    assert "50% of the rows" in page
    assert "1 row is longer than the 150 tokens" in page


def test_only_members_count(client_of, bob, charlie, counted, base_model) -> None:
    url = reverse("datasets:count_tokens", args=[counted.uid])
    assert client_of(bob).get(address(counted)).status_code == 200
    assert client_of(bob).post(url, {"model": "Tiny-1"}).status_code == 403
    assert client_of(bob).get(url).status_code == 405
    assert client_of(bob).post(address(counted)).status_code == 405
    assert client_of(charlie).get(address(counted)).status_code == 404
    assert client_of(charlie).post(url, {"model": "Tiny-1"}).status_code == 404
