"""Data used in place: counted, published, read from the bucket, and refused once they differ."""

import json
from collections.abc import Iterator
from hashlib import sha256

import pytest
from django.urls import reverse

from catalog.models import BaseModel, ModelFamily
from datasets import locations, publishing, repairs, tokens
from datasets.connections import ConnectionFailed
from datasets.deletion import delete_version
from datasets.imports import run_import
from datasets.locations import DataChanged
from datasets.models import Connection, DatasetVersion, Location, RowType, TokenCount, VersionState
from datasets.object_reader import ObjectChanged, ObjectReader
from datasets.rows import iter_rows, page_of_rows
from tests.datasets.buckets import BUCKET, admin, connect, fill, s3_server

pytestmark = pytest.mark.services


def talk(*numbers: int) -> str:
    rows = ([{"prompt": f"问题 {number}", "response": f"答 {number}"}] for number in numbers)
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def long_talk(rows: int) -> str:
    """Rows of 6 KB each."""
    return "\n".join(json.dumps([{"prompt": f"问题 {row}", "response": "答" * 1000}]) for row in range(rows))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def loopback(settings) -> None:
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.0/8"]


@pytest.fixture
def connection(address, workspace) -> Connection:
    return connect(address, workspace)


@pytest.fixture
def count(connection, alice):
    """Returns a function that makes a folder a version and counts its rows."""

    def carry_out(folder: str) -> DatasetVersion:
        version = locations.create(connection, alice, BUCKET, folder)
        run_import(version.pk)
        version.refresh_from_db()
        return version

    return carry_out


def test_a_folder_is_counted_and_published_at_once(address, count):
    fill(address, team__chats__jsonl__b__jsonl=talk(3), team__chats__jsonl__a__jsonl=talk(1, 2))
    fill(address, team__chats__jsonl__deeper__c__jsonl=talk(9), team__chats__other__jsonl=talk(9))
    version = count("team/chats/")
    assert (version.state, version.row_count, version.dataset.name) == (VersionState.PUBLISHED, 3, "chats")
    assert version.published_at and not version.rows_path and version.format == "prompt_response"
    keys = [item["key"] for item in version.location.manifest]
    assert keys == ["team/chats/jsonl/a.jsonl", "team/chats/jsonl/b.jsonl"]
    assert all(item["etag"] and item["size"] for item in version.location.manifest)


def test_rows_are_read_as_an_import_would_have_stored_them(address, count):
    open_ai = json.dumps(
        {"messages": [{"role": "user", "content": "a\u2028b"}, {"role": "assistant", "content": "c"}]}
    )
    fill(address, same__jsonl__a__jsonl="\ufeff" + open_ai + "\r\n\n" + open_ai + "\n")
    version = count("same")
    lines = list(iter_rows(version))
    assert len(lines) == 2
    assert sha256(b"".join(line + b"\n" for line in lines)).hexdigest() == version.content_hash
    assert page_of_rows(version, 1, 5)[0]["messages"][0]["content"] == "a\u2028b"


def test_the_beginning_is_shown_without_asking_the_bucket(address, count, monkeypatch):
    fill(address, head__jsonl__a__jsonl=talk(*range(80)))
    version = count("head")
    monkeypatch.setattr(locations, "ObjectReader", None)
    assert len(page_of_rows(version, 0, 50)) == 50
    monkeypatch.undo()
    assert page_of_rows(version, 79, 5)[0]["messages"][0]["content"] == "问题 79"


def test_rows_are_streamed(address, count, monkeypatch):
    fill(address, long__jsonl__a__jsonl=long_talk(300))
    version = count("long")
    reads: list[int] = []
    read = ObjectReader.readinto
    monkeypatch.setattr(
        ObjectReader, "readinto", lambda self, buffer: reads.append(len(buffer)) or read(self, buffer)
    )
    rows = iter_rows(version)
    next(rows)
    rows.close()
    assert sum(reads) < version.size / 2


def test_a_connection_that_breaks_off_goes_on_where_it_stopped(address, count, monkeypatch):
    fill(address, broken__jsonl__a__jsonl=long_talk(300))
    version = count("broken")
    opened, open_ = [], ObjectReader._open

    def breaking(self):
        open_(self)
        opened.append(self.position)
        read, given = self._body.read, []

        def some(size):
            if given:
                raise ConnectionResetError
            given.append(size)
            return read(size)

        self._body.read = some

    monkeypatch.setattr(ObjectReader, "_open", breaking)
    assert len(list(iter_rows(version))) == 300
    assert len(opened) > 2 and opened == sorted(set(opened))


@pytest.mark.parametrize("change", ["changed", "missing", "new"])
def test_whatever_differs_is_found(address, count, change):
    name = f"differs-{change}"
    fill(address, **{f"{name}__jsonl__a__jsonl": talk(1, 2)})
    version = count(name)
    locations.require_unchanged(version)
    if change == "changed":
        fill(address, **{f"{name}__jsonl__a__jsonl": talk(1, 3)})
    elif change == "missing":
        admin(address).delete_object(Bucket=BUCKET, Key=f"{name}/jsonl/a.jsonl")
    else:
        fill(address, **{f"{name}__jsonl__b__jsonl": talk(4)})
    with pytest.raises(DataChanged, match="have changed in the bucket"):
        locations.require_unchanged(version)
    if change != "new":
        with pytest.raises(DataChanged):
            list(iter_rows(version))


def test_errors_end_like_those_of_an_import(address, count, client_of, alice):
    fill(address, wrong__jsonl__a__jsonl=talk(1) + "\n{not json}\n")
    version = count("wrong")
    assert (version.state, version.row_count) == (VersionState.FAILED, 0)
    assert version.problem_kinds == {"invalid_json": 1} and version.problems[0]["line"] == 2
    page = client_of(alice).get(reverse("datasets:version", args=[version.uid])).text
    assert page.count("Count again") == 1
    assert not any(
        text in page for text in ("Upload", "Import again", "/edit/", "/mend/", "Import from S3/BOS")
    )
    assert reverse("datasets:mend", args=[version.uid, repairs.key_of(version.problems[0])]) not in page
    fill(address, wrong__jsonl__a__jsonl=talk(1, 2))
    assert locations.count_again(version, alice) == version
    run_import(version.pk)
    version.refresh_from_db()
    assert (version.state, version.row_count) == (VersionState.PUBLISHED, 2)


def test_pictures_are_not_used_in_place(address, count):
    row = {"image": "data:image/png;base64,iVBORw0KGgo=", "prompt": "red"}
    fill(address, pictures__jsonl__a__jsonl=json.dumps(row))
    version = count("pictures")
    assert version.state == VersionState.FAILED and version.row_count == 0


def test_a_kind_that_the_dataset_does_not_have_is_refused(address, count):
    fill(address, kinds__jsonl__a__jsonl=talk(1))
    count("kinds")
    fill(address, kinds__jsonl__a__jsonl=json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}))
    version = count("kinds")
    assert version.number == 2 and version.state == VersionState.FAILED
    assert version.dataset.row_type == RowType.MESSAGES


def test_the_same_folder_again_is_the_same_version_until_it_changes(address, connection, alice, count):
    fill(address, again__jsonl__a__jsonl=talk(1))
    version = count("again")
    assert locations.create(connection, alice, BUCKET, "/again/") == version
    fill(address, again__jsonl__a__jsonl=talk(1, 2))
    newer = count("again")
    assert (newer.dataset, newer.number, newer.row_count) == (version.dataset, 2, 2)
    assert len(Location.objects.all()) == 2


def test_a_folder_without_rows_and_a_bucket_that_is_gone_are_refused(address, connection, alice, client_of):
    fill(address, parent__jsonl__sub__x__txt="no rows")
    with pytest.raises(ConnectionFailed, match="Choose the parent"):
        locations.create(connection, alice, BUCKET, "parent/jsonl")
    url = reverse("datasets:use_in_place", args=[connection.uid])
    answer = client_of(alice).post(url, {"bucket": BUCKET, "folder": "parent/"})
    assert answer.status_code == 422 and b"Choose the parent" in answer.content
    assert not DatasetVersion.objects.exists()


def test_a_bucket_that_is_away_fails_the_count_and_keeps_the_place(address, connection, alice):
    fill(address, away__jsonl__a__jsonl=talk(1))
    version = locations.create(connection, alice, BUCKET, "away")
    Connection.objects.update(endpoint="http://127.0.0.1:1")
    run_import(version.pk)
    version.refresh_from_db()
    assert version.state == VersionState.FAILED and set(version.problem_kinds) == {"connection_failed"}
    assert version.location


def test_a_second_worker_counts_after_a_kill(address, connection, alice, monkeypatch):
    fill(address, killed__jsonl__a__jsonl=talk(1, 2))
    version = locations.create(connection, alice, BUCKET, "killed")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(locations, "check_kind", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        run_import(version.pk)
    DatasetVersion.objects.update(import_heartbeat_at=None)
    assert run_import(version.pk)
    version.refresh_from_db()
    assert (version.state, version.row_count, version.import_attempt) == (VersionState.PUBLISHED, 2, 2)


def test_a_version_in_place_that_gets_files_is_no_longer_in_place(address, count, client_of, alice):
    fill(address, files__jsonl__a__jsonl="{not json}")
    version = count("files")
    from django.core.files.uploadedfile import SimpleUploadedFile

    file = SimpleUploadedFile("a.jsonl", talk(1).encode())
    client_of(alice).post(reverse("datasets:upload", args=[version.uid]), {"files": [file]})
    run_import(version.pk)
    version.refresh_from_db()
    assert version.state == VersionState.DRAFT and not Location.objects.filter(version=version).exists()


def test_a_version_in_place_is_deleted_with_its_head(address, count, alice):
    fill(address, deleted__jsonl__a__jsonl=talk(1))
    version = count("deleted")
    delete_version(version, alice)
    assert not Location.objects.exists()


def test_who_may_count_again(address, count, client_of, alice, bob, charlie):
    fill(address, who__jsonl__a__jsonl=talk(1))
    version = count("who")
    url = reverse("datasets:count_again", args=[version.uid])
    assert client_of(alice).get(url).status_code == 405
    assert client_of(bob).post(url).status_code == 403
    assert client_of(charlie).post(url).status_code == 404
    assert client_of(alice).post(url).status_code == 302
    assert version.dataset.versions.count() == 2


def test_only_versions_in_place_are_counted_again(version, alice):
    with pytest.raises(publishing.NotAllowed):
        locations.count_again(version, alice)


def test_the_pages_of_a_version_in_place_open(address, count, client_of, alice):
    fill(address, pages__jsonl__a__jsonl="\n".join([talk(1), talk(1), talk(2)]))
    version = count("pages")
    page = client_of(alice).get(reverse("datasets:version", args=[version.uid])).text
    assert f"s3://{BUCKET}/pages" in page and "Count again" in page and "flag=" not in page
    rows = client_of(alice).get(reverse("datasets:rows", args=[version.uid])).text
    assert "these are its first rows" in rows and "/edit/" not in rows and "问题 2" in rows
    # Its figures are shown, but lead to no filter: there is none.
    figures = client_of(alice).get(reverse("datasets:statistics", args=[version.uid])).text
    assert "data-histogram" in figures and "33.3% of the rows" in figures
    assert "flag=" not in figures and "language=" not in figures


def test_tokens_of_a_version_in_place_are_counted(address, count, monkeypatch, tmp_path):
    fill(address, tokens__jsonl__a__jsonl=talk(*range(6)))
    version = count("tokens")
    with (tmp_path / "rows").open("w+b") as file:
        tokens._copy_rows(version, file)
        file.seek(0)
        assert file.read().splitlines() == list(iter_rows(version))
    monkeypatch.setattr(tokens, "SAMPLE_ROWS", 3)
    with (tmp_path / "sample").open("w+b") as file:
        tokens._copy_rows(version, file)
        file.seek(0)
        sample = file.read().splitlines()
    assert len(sample) == 3 and set(sample) < set(iter_rows(version))


@pytest.mark.parametrize("change", ["changed", "gone"])
def test_a_count_of_tokens_says_what_became_of_the_data(address, count, client_of, alice, tmp_path, change):
    fill(address, told__jsonl__a__jsonl=talk(1))
    version = count("told")
    (tmp_path / "tokenizer.json").write_text("{}")
    family = ModelFamily.objects.create(key="tiny", name="Tiny", model_type="text2text")
    model = BaseModel.objects.create(
        family=family, name="Tiny-1", weights_kind="directory", weights_location=str(tmp_path)
    )
    task = TokenCount.objects.create(version=version, base_model=model)
    if change == "changed":
        fill(address, told__jsonl__a__jsonl=talk(2))
    else:
        Connection.objects.update(endpoint="http://127.0.0.1:9")
    assert tokens.run_count(task.pk)
    task.refresh_from_db()
    assert task.problem == ("data_changed" if change == "changed" else "rows_unreachable")
    page = client_of(alice).get(reverse("datasets:statistics", args=[version.uid]) + "?model=Tiny-1").text
    assert ("have changed in the bucket" if change == "changed" else "did not give the rows") in page


def test_a_server_that_passes_over_the_condition_is_no_way_to_other_data(address, connection) -> None:
    """rclone's S3 server ignores If-Match."""
    fill(address, passed_over__jsonl="new")
    reader = ObjectReader(connection, BUCKET, "passed_over.jsonl", '"0"', 3)
    reader.client.meta.events.register("before-call.s3.GetObject", _without_condition)
    with pytest.raises(ObjectChanged):
        reader.read()


def _without_condition(params: dict, **_more: object) -> None:
    params["headers"].pop("If-Match")
