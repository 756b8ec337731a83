"""manage.py check_datasets finds what is lost, changed or left over."""

from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from datasets.models import Dataset, DatasetVersion
from tests.datasets.storing import stored, talk


@pytest.fixture
def version(workspace) -> DatasetVersion:
    return stored(Dataset.objects.create(workspace=workspace, name="Greetings"), [talk("a"), talk("b")])


def test_rows_as_they_were_are_fine(version, capsys) -> None:
    call_command("check_datasets")
    assert "1 checked, 0 lost or changed" in capsys.readouterr().out


def lose(version: DatasetVersion) -> None:
    default_storage.delete(version.rows_path)


def damage(version: DatasetVersion) -> None:
    with Path(default_storage.path(version.rows_path)).open("r+b") as file:
        file.truncate(100)


def exchange(version: DatasetVersion) -> None:
    other = stored(version.dataset, [talk("a"), talk("c")])
    DatasetVersion.objects.filter(pk=version.pk).update(rows_path=other.rows_path)


@pytest.mark.parametrize(
    ("change", "words"), [(lose, "is lost"), (damage, "cannot be read"), (exchange, "other rows")]
)
def test_what_is_lost_or_changed_is_named(version, capsys, change, words: str) -> None:
    change(version)
    with pytest.raises(CommandError):
        call_command("check_datasets", version.uid)
    assert words in capsys.readouterr().err


def test_what_a_kill_left_behind_is_removed_on_request(version) -> None:
    left = default_storage.save(f"datasets/{version.uid}/rows-2.parquet", ContentFile(b"x"))
    call_command("check_datasets")
    assert default_storage.exists(left)
    call_command("check_datasets", remove=True)
    assert not default_storage.exists(left)
    assert default_storage.exists(version.rows_path)


def test_a_version_that_is_not_there_is_named(version) -> None:
    with pytest.raises(CommandError, match="ds-nothing"):
        call_command("check_datasets", "ds-nothing")
