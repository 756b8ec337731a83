"""Publishing: needs a draft with rows, and nothing changes a published version afterwards."""

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse

from datasets import publishing
from datasets.imports import run_import
from datasets.models import DatasetVersion, SourceFile, VersionState
from datasets.publishing import NotAllowed

GOOD = '[{"prompt": "p", "response": "r"}]'


@pytest.fixture
def published(waiting) -> DatasetVersion:
    """V1, published, with one row."""
    version = waiting(a__jsonl=GOOD)
    run_import(version.pk)
    publishing.publish(version)
    version.refresh_from_db()
    return version


def test_a_draft_is_published(published) -> None:
    assert published.state == VersionState.PUBLISHED
    assert published.published_at is not None


@pytest.mark.parametrize("state", [VersionState.EMPTY, VersionState.IMPORTING, VersionState.FAILED])
def test_only_a_draft_is_published(version, state: str) -> None:
    DatasetVersion.objects.update(state=state, row_count=5)
    with pytest.raises(NotAllowed):
        publishing.publish(version)


def test_a_draft_without_rows_is_not_published(version) -> None:
    DatasetVersion.objects.update(state=VersionState.DRAFT, row_count=0)
    with pytest.raises(NotAllowed):
        publishing.publish(version)


@pytest.mark.parametrize(
    "change", [publishing.publish, publishing.repeat_import, publishing.accept_good_rows]
)
def test_a_published_version_stays_as_it_is(published, change) -> None:
    with pytest.raises(NotAllowed):
        change(published)
    published.refresh_from_db()
    assert (published.state, published.row_count) == (VersionState.PUBLISHED, 1)


def test_a_published_version_takes_no_files(published) -> None:
    file = SourceFile(name="b.jsonl", path=default_storage.save("b", ContentFile(b"x")), size=1)
    with pytest.raises(NotAllowed):
        publishing.start_import(published, [file])
    assert [file.name for file in published.files.all()] == ["a.jsonl"]


def test_an_upload_to_a_published_version_is_refused_and_leaves_nothing_behind(
    client_of, alice, published
) -> None:
    answer = client_of(alice).post(
        reverse("datasets:upload", args=[published.uid]),
        {"files": ContentFile(GOOD.encode(), name="b.jsonl")},
        follow=True,
    )
    assert "A published version cannot be changed" in answer.text
    assert len(default_storage.listdir(f"datasets/{published.uid}/source")[1]) == 1


def test_a_published_version_is_not_imported_again(published) -> None:
    assert not run_import(published.pk)


def test_an_import_is_not_disturbed_by_another_upload(waiting) -> None:
    version = waiting(a__jsonl=GOOD)
    with pytest.raises(NotAllowed):
        publishing.start_import(version, [])


def test_files_of_a_refused_upload_are_removed(client_of, alice, version, monkeypatch) -> None:
    # Somebody publishes between the question and the lock.
    def refuse(*args: object) -> None:
        raise NotAllowed("late")

    monkeypatch.setattr(publishing, "start_import", refuse)
    client_of(alice).post(
        reverse("datasets:upload", args=[version.uid]), {"files": ContentFile(GOOD.encode(), name="b.jsonl")}
    )
    assert default_storage.listdir(f"datasets/{version.uid}/source")[1] == []


def test_versions_are_numbered_on(alice, published) -> None:
    numbers = [publishing.new_version(published.dataset, alice).number for _version in range(2)]
    assert numbers == [2, 3]
