"""Copies within the storage: of large files only names, or nothing but a request to the object storage."""

from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from datasets.storage import copy


def _stored(content: bytes) -> str:
    return default_storage.save("datasets/one/rows-1.parquet", ContentFile(content))


def test_a_copy_on_a_disk_is_a_second_name_of_the_same_bytes() -> None:
    path = _stored(b"rows")
    made = Path(default_storage.path(copy(path, "datasets/two/rows-1.parquet")))
    assert made.samefile(default_storage.path(path))
    assert [file.name for file in Path(default_storage.path(path)).parent.iterdir()] == ["rows-1.parquet"]


def test_a_copy_outlives_its_original() -> None:
    path = _stored(b"rows")
    made = copy(path, "datasets/two/rows-1.parquet")
    default_storage.delete(path)
    with default_storage.open(made) as file:
        assert file.read() == b"rows"


def test_a_disk_without_second_names_gets_a_copy_of_the_content(monkeypatch) -> None:
    def refuse(*_names: object) -> None:
        raise PermissionError

    monkeypatch.setattr("datasets.storage.os.link", refuse)
    path = _stored(b"rows")
    made = copy(path, "datasets/two/rows-1.parquet")
    assert not Path(default_storage.path(made)).samefile(default_storage.path(path))
    with default_storage.open(made) as file:
        assert file.read() == b"rows"


def test_a_file_that_is_gone_is_said_to_be_gone() -> None:
    with pytest.raises(FileNotFoundError):
        copy("datasets/none/rows-1.parquet", "datasets/two/rows-1.parquet")
    assert not default_storage.exists("datasets/two/rows-1.parquet")
