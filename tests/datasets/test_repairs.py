"""Bad records mended in the page: judged again, put with the good rows, gone from the list; and who may."""

import hashlib
import json

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from datasets import repairs
from datasets.columns import open_columns
from datasets.models import Connection, DatasetVersion, Location, VersionState
from datasets.problems import every
from datasets.publishing import NotAllowed
from datasets.rows import iter_rows
from tests.datasets.making import picture, zip_of

GOOD = '[{"prompt": "你好", "response": "Hi!"}]'
BAD = '[{"prompt": "p"}]'
MENDED = '[{"prompt": "p",\n  "response": "r"}]'


@pytest.fixture
def failed(imported) -> DatasetVersion:
    """V1 with one good row and two bad ones."""
    return imported({"a.jsonl": f"{GOOD}\n{BAD}\n{{\n".encode()})


def key(version: DatasetVersion, number: int = 0) -> str:
    return repairs.key_of(version.problems[number])


def mend(version: DatasetVersion, number: int, record: str, **more: object) -> DatasetVersion:
    repairs.mend(version, key(version, number), record, **more)
    version.refresh_from_db()
    return version


def row_texts(version: DatasetVersion) -> list[str]:
    return [json.loads(row)["messages"][0]["content"] for row in iter_rows(version)]


# --- What it does --------------------------------------------------------------------------------------------


def test_a_mended_record_is_a_row_and_its_problem_is_gone(failed) -> None:
    version = mend(failed, 0, MENDED)
    assert row_texts(version) == ["你好", "p"]
    assert (version.row_count, version.turn_count, version.character_count) == (2, 2, 7)
    assert (version.problem_kinds, version.problem_count) == ({"invalid_json": 1}, 1)
    assert [problem["kind"] for problem in version.problems] == ["invalid_json"]
    assert [problem["record"].strip() for problem in every(version)] == ["{"]
    assert version.state == VersionState.FAILED


def test_with_the_last_error_gone_the_version_is_a_draft(failed) -> None:
    version = mend(mend(failed, 0, MENDED), 0, GOOD.replace("你好", "Bye"))
    assert (version.state, version.problem_count, version.problems) == (VersionState.DRAFT, 0, [])
    assert row_texts(version) == ["你好", "p", "Bye"]


def test_what_the_storage_no_longer_needs_is_removed(failed, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        version = mend(failed, 0, MENDED)
    names = sorted(
        f"datasets/{version.uid}/{name}" for name in default_storage.listdir(f"datasets/{version.uid}")[1]
    )
    assert names == sorted([version.rows_path, version.problems_path])


def test_the_hash_is_that_of_the_rows(failed) -> None:
    version = mend(failed, 0, MENDED)
    lines = b"".join(row + b"\n" for row in iter_rows(version))
    assert version.content_hash == hashlib.sha256(lines).hexdigest()


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("{", "This is not valid JSON at column"),
        ("[]", "The list must not be empty"),
        ('[{"prompt": " ", "response": "r"}]', "[0].prompt: The text must not be empty"),
        ('[{"prompt": NaN}]', "NaN is not JSON"),
        ('[{"prompt": "p", "prompt": "q", "response": "r"}]', "appears twice"),
        ('[{"prompt": "\\ud800", "response": "r"}]', "half of a character"),
        ("[" * 10_000, "nested too deeply"),
    ],
)
def test_a_record_that_is_still_no_row_is_told_why(failed, record: str, words: str) -> None:
    with pytest.raises(repairs.NotMended, match=r".*") as refused:
        mend(failed, 0, record)
    assert words in str(refused.value)
    failed.refresh_from_db()
    assert (failed.row_count, failed.problem_count) == (1, 2)


def test_a_row_of_a_table_is_mended_as_json(imported) -> None:
    version = imported({"a.csv": b"prompt,response\np,r\n,s\n"})
    found = repairs.find(version, key(version))
    assert json.loads(found["record"]) == {"prompt": "", "response": "s"}
    version = mend(version, 0, '{"prompt": "q", "response": "s"}')
    assert (version.state, row_texts(version)) == (VersionState.DRAFT, ["p", "q"])


def test_the_first_row_decides_the_kind_of_the_dataset(imported) -> None:
    version = imported({"a.jsonl": b'{"prompt": "p", "chosen": "c", "rejected": "c"}'})
    assert version.row_count == 0
    version = mend(version, 0, '{"prompt": "p", "chosen": "c", "rejected": "d"}')
    version.dataset.refresh_from_db()
    assert (version.row_count, version.dataset.row_type) == (1, "preference")


def test_a_mended_row_is_known_by_its_place(imported) -> None:
    version = mend(imported({"a.jsonl": f"{BAD}\n{{".encode()}), 0, MENDED)
    with open_columns(version) as parquet:
        assert parquet.read(columns=["file", "place"]).to_pylist() == [{"file": "a.jsonl", "place": 1}]
    assert version.statistics["characters"]["total"] == 2


def test_data_in_place_are_mended_where_they_lie(failed, workspace) -> None:
    connection = Connection.objects.create(
        workspace=workspace, name="Bucket", endpoint="https://s3.example.org"
    )
    Location.objects.create(version=failed, connection=connection, bucket="data", prefix="chats")
    with pytest.raises(NotAllowed):
        mend(failed, 0, MENDED)


def test_a_missing_picture_comes_with_the_record(imported) -> None:
    rows = '{"image": "a.png", "text": "one"}\n{"image": "b.png", "text": "two"}'
    version = imported({"a.zip": zip_of({"rows.jsonl": rows, "a.png": picture()})})
    with pytest.raises(repairs.NotMended, match=r"no picture .b\.png"):
        mend(version, 0, '{"image": "b.png", "text": "two"}')
    blue = SimpleUploadedFile("x.png", picture("blue"))
    version = mend(version, 0, '{"image": "b.png", "text": "two"}', picture=blue)
    names = {json.loads(row)["image"].removeprefix("images/") for row in iter_rows(version)}
    assert names == set(default_storage.listdir(f"datasets/{version.uid}/images")[1])
    assert (version.state, len(names)) == (VersionState.DRAFT, 2)


# --- What it refuses -----------------------------------------------------------------------------------------


def test_nobody_mends_the_same_record_twice(failed) -> None:
    first = key(failed)
    mend(failed, 0, MENDED)
    with pytest.raises(NotAllowed):
        repairs.mend(failed, first, MENDED)


def test_warnings_and_lost_files_cannot_be_mended(imported) -> None:
    version = imported({"a.jsonl": f"{GOOD}\n{GOOD}".encode(), "b.zip": b"PK"})
    assert version.problem_kinds == {"duplicate": 1, "archive_broken": 1}
    assert not any(repairs.can_be_mended(version, problem) for problem in version.problems)


@pytest.mark.parametrize("state", [VersionState.PUBLISHED, VersionState.IMPORTING])
def test_a_version_that_cannot_change_is_left_alone(failed, state: str) -> None:
    DatasetVersion.objects.update(state=state)
    with pytest.raises(NotAllowed):
        mend(failed, 0, MENDED)


# --- The page ------------------------------------------------------------------------------------------------


def address(version: DatasetVersion) -> str:
    return reverse("datasets:mend", args=[version.uid, key(version)])


def test_the_form_shows_the_record_with_what_is_wrong(client_of, alice, failed) -> None:
    page = client_of(alice).get(address(failed)).content.decode()
    assert "[{&quot;prompt&quot;: &quot;p&quot;}]" in page
    assert "The field is missing." in page


def test_what_was_typed_stays_beside_its_error(client_of, alice, failed) -> None:
    answer = client_of(alice).post(address(failed), {"record": '[{"prompt": "typed"}]'})
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "typed" in page
    assert "[0].response: The field is missing." in page


def test_a_saved_record_leads_back_to_what_is_still_wrong(client_of, alice, failed) -> None:
    client, first = client_of(alice), address(failed)
    assert client.post(first, {"record": MENDED}).url == reverse("datasets:problems", args=[failed.uid])
    assert client.get(first).url == reverse("datasets:problems", args=[failed.uid])


def test_mending_needs_the_right_to_write(client_of, bob, charlie, failed) -> None:
    for method in ("get", "post"):
        assert getattr(client_of(bob), method)(address(failed)).status_code == 403
        assert getattr(client_of(charlie), method)(address(failed)).status_code == 404
    assert client_of(bob).put(address(failed)).status_code == 405
