"""What an operator may offer to everybody, and what stays closed."""

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.urls import reverse

from console.models import User
from datasets.models import Dataset, DatasetVersion, RowType, SharedData, VersionState
from tests.datasets.storing import stored, talk


@pytest.fixture
def operator(db) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("op", password="password", language="en"))
    return client


@pytest.fixture
def version(workspace) -> DatasetVersion:
    dataset = Dataset.objects.create(workspace=workspace, name="Greetings")
    return stored(dataset, [talk("a")], VersionState.PUBLISHED)


def offer(client: Client, version: DatasetVersion, kind: str = "corpus") -> bool:
    fields = {
        "kind": kind,
        "name_zh": "语料",
        "name_en": "Corpus",
        "version": version.pk,
        "enabled": "on",
        "order": 0,
    }
    client.post(reverse("admin:datasets_shareddata_add"), fields)
    return SharedData.objects.filter(version=version).exists()


def test_a_published_version_is_offered(operator, version) -> None:
    assert offer(operator, version)


def test_what_cannot_be_used_is_not_offered(operator, version) -> None:
    DatasetVersion.objects.update(state=VersionState.DRAFT)
    assert not offer(operator, version)
    DatasetVersion.objects.update(state=VersionState.PUBLISHED)
    Dataset.objects.update(row_type=RowType.TEXT)
    assert not offer(operator, version)
    default_storage.delete(version.rows_path)
    assert not offer(operator, version, "preset")


@pytest.mark.parametrize("name", ["datasetversion_change", "datasetversion_delete", "dataset_delete"])
def test_rows_and_versions_stay_closed(operator, version, name: str) -> None:
    target = version.dataset if name.startswith("dataset_") else version
    operator.post(reverse(f"admin:datasets_{name}", args=[target.pk]), {"post": "yes", "row_count": 9})
    version.refresh_from_db()
    assert version.row_count == 1


@pytest.mark.parametrize("model", ["dataset", "datasetversion", "shareddata", "connection"])
def test_every_list_opens(operator, version, model: str) -> None:
    assert operator.get(reverse(f"admin:datasets_{model}_changelist")).status_code == 200
