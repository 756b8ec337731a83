"""Versions side by side: every row counted once, copies respected."""

from collections import Counter

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.urls import reverse

from datasets.comparing import compare, surplus
from datasets.models import Dataset
from tests.datasets.storing import stored, talk


@pytest.fixture
def dataset(workspace) -> Dataset:
    return Dataset.objects.create(workspace=workspace, name="Greetings")


def test_surplus_agrees_with_counting_on_random_data() -> None:
    chance = np.random.default_rng(7)
    for _round in range(30):
        these, others = (chance.integers(0, 12, size, np.uint64) for size in chance.integers(0, 40, 2))
        found = surplus(these, others)
        expected = Counter(these.tolist()) - Counter(others.tolist())
        assert Counter(these[found].tolist()) == expected
        assert list(found) == sorted(found)


def test_copies_count(dataset) -> None:
    a = stored(dataset, [talk("x"), talk("y"), talk("x"), talk("x")])
    b = stored(dataset, [talk("x"), talk("z")])
    found = compare(a, b)
    assert (found.only_a.tolist(), found.only_b.tolist(), found.both) == ([1, 2, 3], [1], 1)


def page(client, a, b, more: str = ""):
    address = reverse("datasets:compare", args=[a.dataset.uid])
    return client.get(f"{address}?version={a.uid}&version={b.uid}{more}")


def test_the_page_shows_rows_of_either_side(client_of, bob, dataset) -> None:
    a = stored(dataset, [talk(f"old {number}") for number in range(25)] + [talk("same")])
    b = stored(dataset, [talk("same"), talk("new")])
    first = page(client_of(bob), a, b)
    assert (first.context["only_a"], first.context["only_b"], first.context["both"]) == (25, 1, 1)
    assert len(first.context["rows"]) == 20
    assert [row.number for row in page(client_of(bob), a, b, "&page=2").context["rows"]][-1] == 25
    assert [row.number for row in page(client_of(bob), a, b, "&side=b").context["rows"]] == [2]
    assert "new" in page(client_of(bob), a, b, "&side=b").text


@pytest.mark.parametrize(("rows", "words"), [(["x", "y"], "same order"), (["y", "x"], "another order")])
def test_equal_versions_are_called_so(client_of, alice, dataset, rows: list[str], words: str) -> None:
    a, b = stored(dataset, [talk("x"), talk("y")]), stored(dataset, [talk(row) for row in rows])
    assert words in page(client_of(alice), a, b).context["is_same"]


def test_strangers_foreign_versions_and_posts(client_of, alice, charlie, dataset, workspace) -> None:
    a = stored(dataset, [talk("x")])
    other = stored(Dataset.objects.create(workspace=workspace, name="Other"), [talk("secret")])
    assert page(client_of(charlie), a, a).status_code == 404
    assert page(client_of(alice), a, other).context["obstacle"]
    assert client_of(alice).post(reverse("datasets:compare", args=[dataset.uid])).status_code == 405


def test_lost_rows_are_told(client_of, alice, dataset) -> None:
    a, b = stored(dataset, [talk("x")]), stored(dataset, [talk("y")])
    default_storage.delete(b.rows_path)
    assert page(client_of(alice), a, b).status_code == 409
