"""Qianfan's calls that import from BOS: which connection they take, what they refuse, and that the data arrive."""

from collections.abc import Iterator

import pytest

from console.api.errors import Refused
from console.api.keys import Caller, issue
from console.models import Role, Scope
from datasets.api import v1, v2
from datasets.imports import run_import
from datasets.models import VersionState
from tests.datasets.buckets import connect, fill, s3_server

ROW = '[{"prompt": "p", "response": "r"}]\n'


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        fill(address, a__one__jsonl=ROW, a__b__two__jsonl=ROW * 2, c__three__jsonl=ROW * 4, a__note__md="?")
        yield address


@pytest.fixture(autouse=True)
def loopback(settings) -> None:
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.0/8"]


@pytest.fixture
def caller(alice, workspace) -> Caller:
    return Caller(issue(alice, workspace, "test", Scope.ADMIN)[0], Role.OWNER)


def named(*places: str) -> list[str]:
    return [f"bos:/data/{place}" for place in places]


@pytest.mark.parametrize(
    ("places", "rows"),
    [
        (named("a/"), 3),
        (named("a/one.jsonl"), 1),
        (named("a/b/two.jsonl", "c/three.jsonl"), 6),
        (named(""), 7),
    ],
)
def test_a_folder_or_files_are_imported(server, workspace, caller, version, places, rows) -> None:
    connect(server, workspace)
    task = v2.create_import(caller, v2.Import(version.uid, places))
    assert v2.describe_import(caller, v2.OneImport(task))["importStatus"] == "Importing"
    assert run_import(version.pk)
    answer = v2.describe_import(caller, v2.OneImport(task))
    assert (answer["importStatus"], answer["progress"], answer["sampleCount"]) == (
        "ImportFinished",
        "100%",
        rows,
    )


def test_the_first_api_imports_too(server, workspace, caller, version) -> None:
    connect(server, workspace, bucket="")
    assert v1.import_files(caller, v1.Import(version.uid, named("a/one.jsonl"))) is True
    version.refresh_from_db()
    assert version.state == VersionState.IMPORTING
    with pytest.raises(Refused, match="being imported"):
        v1.import_files(caller, v1.Import(version.uid, named("a/one.jsonl")))


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        ([], "named as bos:"),
        (["https://host/a.zip"], "named as bos:"),
        (named("a/", "c/three.jsonl"), "one folder"),
        (["bos:/data/a/one.jsonl", "bos:/other/a.jsonl"], "one bucket"),
        (["bos:/other/a/"], "no connection"),
        (named("a/none.jsonl"), "no longer there"),
        (named("a/note.md"), "no accepted kind"),
    ],
)
def test_what_cannot_be_imported_is_refused(server, workspace, caller, version, places, reason) -> None:
    connect(server, workspace)
    with pytest.raises(Refused, match=reason):
        v2.create_import(caller, v2.Import(version.uid, places))


def test_connections_of_other_workspaces_are_not_used(server, caller, charlie, version) -> None:
    connect(server, charlie.memberships.get().workspace)
    with pytest.raises(Refused, match="no connection"):
        v2.create_import(caller, v2.Import(version.uid, named("a/")))
