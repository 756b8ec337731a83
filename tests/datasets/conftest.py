"""What the tests of datasets start from."""

import json
from collections.abc import Callable

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from console.models import Workspace
from datasets.imports import run_import
from datasets.models import Dataset, DatasetVersion, SourceFile, VersionState

GOOD = json.dumps([{"prompt": "你好", "response": "Hi!"}], ensure_ascii=False)


@pytest.fixture
def version(workspace: Workspace) -> DatasetVersion:
    """V1 of a dataset of Alice's workspace, without data."""
    dataset = Dataset.objects.create(workspace=workspace, name="Greetings")
    return DatasetVersion.objects.create(dataset=dataset, number=1)


@pytest.fixture
def waiting(version: DatasetVersion) -> Callable[..., DatasetVersion]:
    """Returns a function that puts files (name=content) into the version, waiting for an import."""

    def fill(**files: str | bytes) -> DatasetVersion:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            path = default_storage.save(f"datasets/{version.uid}/source/{name}", ContentFile(data))
            name = name.replace("__", ".")
            SourceFile.objects.create(version=version, name=name, path=path, size=len(data))
            version.size += len(data)
        version.state = VersionState.IMPORTING
        version.save()
        return version

    return fill


@pytest.fixture
def imported(waiting) -> Callable[[dict[str, bytes]], DatasetVersion]:
    """Returns a function that imports files, given by name, into the version and returns it."""

    def carry_out(files: dict[str, bytes], format_key: str = "") -> DatasetVersion:
        version = waiting(**files)
        version.format = format_key
        version.save()
        assert run_import(version.pk)
        version.refresh_from_db()
        return version

    return carry_out
