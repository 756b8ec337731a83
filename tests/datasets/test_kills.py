"""Killed with SIGKILL at any moment, publishing, fixing, deleting and starting a version leave nothing half done."""

import os
import signal
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection

from console import deletion as removing
from datasets import editing, publishing
from datasets.deletion import delete_version
from datasets.models import Dataset, DatasetVersion, VersionState
from datasets.rows import iter_rows
from tests.datasets.storing import stored, talk

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = [talk(word) for word in "abcdef"]


@pytest.fixture
def version(workspace) -> DatasetVersion:
    made = stored(Dataset.objects.create(workspace=workspace, name="Greetings"), ROWS)
    DatasetVersion.objects.filter(pk=made.pk).update(state=VersionState.DRAFT)
    made.refresh_from_db()
    return made


def killed_in(
    owner: object, name: str, work: Callable[[], object], *, after: bool = False, at: int = 1
) -> None:
    """Does the work in a process that is killed as it comes to the call of that name, or has just made it."""
    child = os.fork()
    if not child:
        try:
            # The connection is the parent's; this process opens its own. Kept, or it would be closed.
            kept, connection.connection = connection.connection, None
            call, calls = getattr(owner, name), [kept]

            def kill(*args: object, **options: object) -> object:
                calls.append(name)
                is_last = len(calls) == at + 1
                if is_last and not after:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = call(*args, **options)
                if is_last:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            setattr(owner, name, kill)
            work()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def rows_in(version: DatasetVersion) -> list[dict[str, Any]]:
    return list(map(msgspec.json.decode, iter_rows(version)))


def left_over(version: DatasetVersion) -> set[str]:
    """Files of rows that no version has."""
    names = default_storage.listdir(f"datasets/{version.uid}")[1]
    return {name for name in names if f"datasets/{version.uid}/{name}" != version.rows_path}


@pytest.mark.parametrize("after", [False, True], ids=["before the commit", "after it"])
def test_publishing(version, after: bool) -> None:
    killed_in(connection, "commit", lambda: publishing.publish(version), after=after)
    version.refresh_from_db()
    assert version.state == (VersionState.PUBLISHED if after else VersionState.DRAFT)
    assert (version.published_at is not None) == after
    assert rows_in(version) == ROWS
    if not after:
        publishing.publish(version)


@pytest.mark.parametrize(
    ("owner", "name", "after", "rows"),
    [
        (default_storage, "save", False, ROWS),
        (default_storage, "save", True, ROWS),
        (connection, "commit", False, ROWS),
        (connection, "commit", True, ROWS[1:]),
        (default_storage, "delete", False, ROWS[1:]),
    ],
    ids=["before the new file", "after it", "before the commit", "after it ", "before the old file goes"],
)
def test_dropping_rows(version, owner: object, name: str, after: bool, rows: list[dict[str, Any]]) -> None:
    killed_in(owner, name, lambda: editing.rewrite(version, replace={}, drop={0}, append=[]), after=after)
    version.refresh_from_db()
    assert (version.row_count, rows_in(version)) == (len(rows), rows)
    call_command("check_datasets", remove=True)
    assert not left_over(version)
    editing.rewrite(version, replace={}, drop={0}, append=[])
    version.refresh_from_db()
    assert rows_in(version) == rows[1:]


def test_deleting(version, alice) -> None:
    """The rows of the tables go at once; the files after it, by whoever finds that they are still there."""
    killed_in(connection, "commit", lambda: delete_version(version, alice))
    assert DatasetVersion.objects.filter(pk=version.pk).exists() and not removing.waiting()
    delete_version(version, alice)
    assert not DatasetVersion.objects.filter(pk=version.pk).exists()
    for number in range(3):
        default_storage.save(f"datasets/{version.uid}/images/{number}.png", ContentFile(b"x"))
    (waiting,) = removing.waiting()
    killed_in(default_storage, "delete", lambda: removing.remove_files(waiting), after=True, at=2)
    assert default_storage.exists(f"datasets/{version.uid}") and removing.waiting() == [waiting]
    removing.remove_files(waiting)
    assert not default_storage.exists(f"datasets/{version.uid}") and not removing.waiting()


def test_starting_from_another_version(version, alice) -> None:
    killed_in(publishing, "copy", lambda: publishing.new_version_from(version, alice), after=True)
    made = version.dataset.versions.get(number=2)
    assert (made.state, made.row_count, made.rows_path) == (VersionState.EMPTY, 0, "")
    delete_version(made, alice)
    again = publishing.new_version_from(version, alice)
    assert (again.number, rows_in(again)) == (2, ROWS)
