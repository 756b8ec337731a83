"""Datasets renamed and deleted, versions started from others, the list searched and sorted."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse

from console.models import Deletion
from datasets import publishing
from datasets.columns import iter_lines
from datasets.models import Dataset, DatasetVersion, VersionState
from datasets.publishing import NotAllowed
from tests.datasets.storing import stored, talk


@pytest.fixture
def dataset(workspace) -> Dataset:
    return Dataset.objects.create(workspace=workspace, name="Greetings", description="说你好")


@pytest.fixture
def version(dataset) -> DatasetVersion:
    return stored(dataset, [talk("a"), talk("b")], VersionState.PUBLISHED)


NAMES = ["settings", "delete", "delete_version", "start_from"]


def address(name: str, version: DatasetVersion) -> str:
    return reverse(f"datasets:{name}", args=[(version.dataset if name in NAMES[:2] else version).uid])


@pytest.mark.parametrize("name", NAMES)
def test_who_may_what(client_of, alice, bob, charlie, version, name: str) -> None:
    assert client_of(bob).post(address(name, version)).status_code == 403
    assert client_of(charlie).post(address(name, version)).status_code == 404
    method = client_of(alice).put if name in ("settings", "delete_version") else client_of(alice).get
    assert method(address(name, version)).status_code == 405


def test_a_dataset_gets_another_name(client_of, alice, version, dataset) -> None:
    answer = client_of(alice).post(address("settings", version), {"name": "问候", "description": "a\r\nb"})
    assert answer.status_code == 302
    dataset.refresh_from_db()
    assert (dataset.name, dataset.description) == ("问候", "a\nb")


def test_a_name_that_is_taken_is_refused_at_its_field(client_of, alice, version, workspace) -> None:
    Dataset.objects.create(workspace=workspace, name="Taken")
    answer = client_of(alice).post(address("settings", version), {"name": "Taken", "description": "kept"})
    assert answer.status_code == 422
    assert answer.context["form"].errors["name"]
    assert "kept" in answer.text
    assert "Greetings" in answer.text


def test_the_page_says_what_goes(client_of, alice, version) -> None:
    loss = client_of(alice).get(address("settings", version)).context["loss"]
    assert (loss.versions, loss.rows) == (1, 2)


def test_a_dataset_is_deleted_and_recorded(client_of, alice, version) -> None:
    assert client_of(alice).post(address("delete", version)).url == reverse("datasets:list")
    assert not Dataset.objects.exists()
    assert Deletion.objects.get(uid=version.uid).data["rows"] == 2


def test_a_version_is_deleted_after_asking(client_of, alice, version) -> None:
    assert "Delete V1?" in client_of(alice).get(address("delete_version", version)).text
    client_of(alice).post(address("delete_version", version))
    assert not DatasetVersion.objects.exists()


def test_what_is_offered_to_all_stays_and_says_so(client_of, alice, version, dataset) -> None:
    from datasets.models import SharedData

    SharedData.objects.create(kind="corpus", name_zh="c", name_en="c", version=version)
    assert "cannot be deleted" in client_of(alice).get(address("settings", version)).text
    client_of(alice).post(address("delete", version))
    client_of(alice).post(address("delete_version", version))
    assert dataset.versions.count() == 1


def test_a_new_version_starts_from_another_with_its_pictures(client_of, alice, version) -> None:
    name = "0123456789abcdef.png"
    default_storage.save(f"datasets/{version.uid}/images/{name}", ContentFile(b"picture"))
    client_of(alice).post(address("start_from", version))
    made = DatasetVersion.objects.get(started_from=version)
    assert (made.number, made.state, made.content_hash) == (2, VersionState.DRAFT, version.content_hash)
    assert list(iter_lines(made)) == list(iter_lines(version))
    with default_storage.open(f"datasets/{made.uid}/images/{name}") as file:
        assert file.read() == b"picture"


def test_nothing_is_started_from_an_empty_or_lost_version(alice, version, dataset) -> None:
    empty = DatasetVersion.objects.create(dataset=dataset, number=9)
    default_storage.delete(version.rows_path)
    for source in (empty, version):
        with pytest.raises(NotAllowed):
            publishing.new_version_from(source, alice)
    assert dataset.versions.count() == 2


# --- List ----------------------------------------------------------------------------------------------------


def names(client, query: str) -> list[str]:
    page = client.get(reverse("datasets:list") + query)
    return [dataset.name for dataset, _version in page.context["rows"]]


def test_the_list_is_searched_by_text_and_identifier(client_of, alice, version, dataset) -> None:
    client = client_of(alice)
    for query in ("greet", "你好", dataset.uid, version.uid):
        assert names(client, f"?q={query}") == ["Greetings"], query
    assert names(client, "?q=other") == []


def test_the_list_is_sorted_and_filtered_by_kind(client_of, alice, version, workspace) -> None:
    texts = Dataset.objects.create(workspace=workspace, name="Texts")
    stored(texts, [{"text": "a"}])
    Dataset.objects.create(workspace=workspace, name="Empty")
    client = client_of(alice)
    assert names(client, "?sort=name") == ["Empty", "Greetings", "Texts"]
    assert names(client, "?sort=-rows") == ["Greetings", "Texts", "Empty"]
    assert names(client, "?sort=nonsense")[0] == "Empty"
    assert names(client, "?kind=text") == ["Texts"]
    assert names(client, "?kind=messages") == ["Greetings"]


def test_many_datasets_take_the_same_queries(
    client_of, alice, workspace, django_assert_max_num_queries
) -> None:
    made = Dataset.objects.bulk_create(
        Dataset(workspace=workspace, name=f"Dataset {number}") for number in range(200)
    )
    DatasetVersion.objects.bulk_create(
        DatasetVersion(dataset=one, number=1, row_count=one.pk) for one in made
    )
    client = client_of(alice)
    for query in ("", "?sort=-rows", "?q=set+1&state=empty&kind=messages"):
        with django_assert_max_num_queries(8):
            assert len(names(client, query)) == 20
