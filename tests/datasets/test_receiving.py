"""Files that arrive in pieces: appended in order, once, within limits, by the one who began; then imported."""

import os
import shutil
from datetime import timedelta
from io import BytesIO

import pytest
from django.core.exceptions import ValidationError
from django.core.files.storage import FileSystemStorage, default_storage
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from datasets import publishing, receiving
from datasets.imports import run_import
from datasets.models import DatasetVersion, SourceFile, Upload, VersionState
from tests.datasets.making import picture, zip_of

DATA = b'{"prompt": "p", "response": "r"}\n' * 100


@pytest.fixture
def client(client_of, alice) -> Client:
    return client_of(alice)


@pytest.fixture
def begun(version, alice) -> Upload:
    """A file of which nothing has arrived."""
    return receiving.begin(version, alice, "a.jsonl", len(DATA), "1")


def announce(client: Client, version: DatasetVersion, **more: object):
    data = {"name": "a.jsonl", "size": len(DATA), "modified": "1"} | more
    return client.post(reverse("datasets:begin_upload", args=[version.uid]), data)


def send(client: Client, upload: Upload, offset: int, piece: bytes):
    address = reverse("datasets:upload_piece", args=[upload.version.uid, upload.uid])
    return client.post(f"{address}?offset={offset}", piece, content_type="application/octet-stream")


def arrived(upload: Upload) -> bytes:
    return receiving.path_of(upload).read_bytes()


# --- Pieces --------------------------------------------------------------------------------------------------


def test_a_file_sent_in_pieces_is_imported_as_it_was(client, version) -> None:
    upload = Upload.objects.get(uid=announce(client, version).json()["uid"])
    for start in range(0, len(DATA), 1000):
        answer = send(client, upload, start, DATA[start : start + 1000])
    assert answer.json() == {"received": len(DATA)}
    answer = client.post(
        reverse("datasets:import_arrived", args=[version.uid]), {}, headers={"Accept": "application/json"}
    )
    assert answer.json() == {"url": reverse("datasets:version", args=[version.uid])}
    with default_storage.open(version.files.get().path) as file:
        assert file.read() == DATA
    assert not Upload.objects.exists()
    assert run_import(version.pk)


def test_announced_again_a_file_goes_on_where_it_stopped(client, version) -> None:
    first = announce(client, version).json()
    send(client, Upload.objects.get(), 0, DATA[:1500])
    assert announce(client, version).json() == first | {"received": 1500}
    assert announce(client, version, modified="2").json()["received"] == 0


@pytest.mark.parametrize("offset", [0, 999, 1001])
def test_a_piece_that_does_not_fit_is_refused_with_the_place_that_does(client, begun, offset: int) -> None:
    send(client, begun, 0, DATA[:1000])
    answer = send(client, begun, offset, b"x" * 10)
    assert (answer.status_code, answer.json()["received"]) == (409, 1000)
    assert arrived(begun) == DATA[:1000]


def test_of_two_pieces_for_the_same_place_one_is_kept(begun) -> None:
    class Slow(BytesIO):
        """While this piece is on its way another one comes and is done."""

        def read(self, size: int = -1) -> bytes:
            if not self.tell():
                receiving.receive(Upload.objects.get(), 0, BytesIO(b"first"), 5)
            return super().read(size)

    with pytest.raises(receiving.WrongOffset) as refused:
        receiving.receive(begun, 0, Slow(b"other"), 5)
    assert (refused.value.received, arrived(begun)) == (5, b"first")
    assert [path.name for path in receiving.path_of(begun).parent.iterdir()] == [f"{begun.uid}.part"]


def test_a_piece_that_breaks_off_leaves_nothing_behind(begun) -> None:
    with pytest.raises(receiving.Interrupted):
        receiving.receive(begun, 0, BytesIO(b"half"), 8)
    assert not list(receiving.path_of(begun).parent.iterdir())


def test_bytes_behind_what_the_database_knows_are_cut_off(begun) -> None:
    # A process was killed between the bytes and the commit.
    receiving.path_of(begun).write_bytes(b"lost and found")
    receiving.receive(begun, 0, BytesIO(DATA[:10]), 10)
    assert arrived(begun) == DATA[:10]


def test_a_file_that_the_disk_lost_starts_again(version, alice, begun) -> None:
    receiving.receive(begun, 0, BytesIO(DATA[:10]), 10)
    receiving.path_of(begun).unlink()
    begun.refresh_from_db()
    with pytest.raises(receiving.WrongOffset):
        receiving.receive(begun, 10, BytesIO(DATA[10:20]), 10)
    assert receiving.begin(version, alice, "a.jsonl", len(DATA), "1").received == 0


# --- Limits --------------------------------------------------------------------------------------------------


def test_more_bytes_than_announced_are_refused(client, begun) -> None:
    answer = send(client, begun, 0, DATA + b"x")
    assert (answer.status_code, Upload.objects.get().received) == (403, 0)
    assert "longer than it was" in answer.json()["error"]


def test_a_piece_that_is_too_large_is_refused_before_it_is_read(client, begun, monkeypatch) -> None:
    monkeypatch.setattr(receiving, "MAX_PIECE_BYTES", 10)
    monkeypatch.setattr(receiving, "receive", None)
    assert send(client, begun, 0, DATA).status_code == 413


def test_a_piece_without_length_or_place_is_refused(client, begun) -> None:
    address = reverse("datasets:upload_piece", args=[begun.version.uid, begun.uid])
    assert client.post(f"{address}?offset=x", b"x", content_type="text/plain").status_code == 411


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a.exe"}, "of no accepted kind"),
        ({"size": 0}, "is empty"),
        ({"size": -5}, "is empty"),
        ({"size": 10**15}, "may have at most"),
    ],
)
def test_a_file_that_is_not_accepted_is_refused_before_it_is_sent(
    client, version, change, words: str
) -> None:
    answer = announce(client, version, **change)
    assert answer.status_code == 422
    assert words in answer.json()["error"]


@pytest.mark.parametrize("change", [{"size": "many"}, {"size": ""}])
def test_nonsense_is_refused(client, version, change) -> None:
    assert announce(client, version, **change).status_code == 400


def test_a_hundred_files_are_enough(version, alice, begun, monkeypatch) -> None:
    monkeypatch.setattr(receiving, "MAX_FILES", 1)
    with pytest.raises(ValidationError, match="At most 1 files"):
        receiving.begin(version, alice, "b.jsonl", 5, "1")


def test_the_disk_is_asked_first(version, alice, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9, 9, 600 * 1024**2))
    assert receiving.begin(version, alice, "a.jsonl", 1024**2, "1")
    with pytest.raises(ValidationError, match=r"room for 88.0.*; this file has 100.0"):
        receiving.begin(version, alice, "b.jsonl", 100 * 1024**2, "1")


def test_a_workspace_has_a_share_of_the_disk(version, alice, begun, settings) -> None:
    settings.UPLOADS_MAX_GB = 0
    with pytest.raises(ValidationError, match="Finish or discard some first"):
        receiving.begin(version, alice, "b.jsonl", 5, "1")


def test_a_full_disk_is_told(client, begun, monkeypatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    answer = send(client, begun, 0, DATA)
    assert (answer.status_code, answer.json()["error"][:26]) == (403, "The server's disk is full.")
    assert Upload.objects.get().received == 0


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/a.jsonl", "a.jsonl"),
        ("C:\\data\\a.jsonl", "a.jsonl"),
        ("a\0b\n\x1b[31m.jsonl", "ab[31m.jsonl"),
        ("语料\u202e.jsonl", "语料.jsonl"),
        ("x" * 300 + ".tar.gz", "x" * 252 + ".gz"),
    ],
)
def test_a_strange_name_becomes_a_plain_one(name: str, kept: str) -> None:
    assert receiving.clean_name(name) == kept


# --- State, people -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [VersionState.IMPORTING, VersionState.PUBLISHED])
def test_a_version_that_takes_no_files_takes_no_pieces(client, begun, state: str) -> None:
    DatasetVersion.objects.update(state=state)
    assert send(client, begun, 0, DATA).status_code == 403
    assert announce(client, begun.version).status_code == 403
    with pytest.raises(publishing.NotAllowed):
        receiving.import_arrived(begun.version, begun.user)


def test_it_needs_the_right_to_write_every_time(client_of, bob, charlie, begun) -> None:
    assert send(client_of(bob), begun, 0, DATA).status_code == 403
    assert announce(client_of(bob), begun.version).status_code == 403
    assert send(client_of(charlie), begun, 0, DATA).status_code == 404
    assert announce(client_of(charlie), begun.version).status_code == 404


def test_somebody_elses_upload_is_not_gone_on_with(client_of, begun, bob, workspace) -> None:
    workspace.memberships.filter(user=bob).update(role="member")
    assert send(client_of(bob), begun, 0, DATA).status_code == 404


def test_a_token_is_asked_for(alice, begun) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(alice)
    assert send(strict, begun, 0, DATA).status_code == 403


def test_get_is_refused(client, begun) -> None:
    version = begun.version
    for name, args in (
        ("begin_upload", [version.uid]),
        ("import_arrived", [version.uid]),
        ("upload_piece", [version.uid, begun.uid]),
        ("discard_upload", [version.uid, begun.uid]),
        ("cancel", [version.uid]),
    ):
        assert client.get(reverse(f"datasets:{name}", args=args)).status_code == 405


# --- The end -------------------------------------------------------------------------------------------------


def test_an_incomplete_file_is_not_imported(client, begun) -> None:
    send(client, begun, 0, DATA[:-1])
    with pytest.raises(publishing.NotAllowed, match="1 file has not arrived yet"):
        receiving.import_arrived(begun.version, begun.user)
    assert not SourceFile.objects.exists()


def test_a_storage_that_fails_loses_nothing(client, begun, monkeypatch) -> None:
    send(client, begun, 0, DATA)

    def broken(*args: object) -> None:
        raise PermissionError

    monkeypatch.setattr(FileSystemStorage, "_save", broken)
    with pytest.raises(PermissionError):
        receiving.import_arrived(begun.version, begun.user)
    assert arrived(begun) == DATA


def test_an_upload_is_shown_and_discarded(client, begun) -> None:
    send(client, begun, 0, DATA[:1000])
    address = reverse("datasets:discard_upload", args=[begun.version.uid, begun.uid])
    page = client.get(reverse("datasets:version", args=[begun.version.uid])).content.decode()
    assert "1000\xa0bytes of 3.2\xa0KB" in page
    assert address in page
    client.post(address)
    assert not Upload.objects.exists()


def test_what_nobody_touches_for_days_is_removed(begun, django_capture_on_commit_callbacks) -> None:
    directory = receiving.path_of(begun).parent
    receiving.receive(begun, 0, BytesIO(b"x"), 1)
    for name in ("up-gone.part", f"{begun.uid}.ab.piece"):
        (directory / name).touch()
        os.utime(directory / name, (0, 0))
    assert receiving.discard_old() == 0
    assert [path.name for path in directory.iterdir()] == [f"{begun.uid}.part"]
    Upload.objects.update(updated_at=timezone.now() - timedelta(days=4))
    with django_capture_on_commit_callbacks(execute=True):
        assert receiving.discard_old() == 1
    assert not list(directory.iterdir())


# --- Calling off ---------------------------------------------------------------------------------------------


def test_a_cancelled_import_keeps_its_files_and_can_be_repeated(client, waiting) -> None:
    version = waiting(a__jsonl=DATA)
    client.post(reverse("datasets:cancel", args=[version.uid]))
    version.refresh_from_db()
    assert (version.state, version.problem_kinds) == (VersionState.FAILED, {"cancelled": 1})
    assert not run_import(version.pk)
    assert b"The import was cancelled" in client.get(reverse("datasets:version", args=[version.uid])).content
    client.post(reverse("datasets:retry", args=[version.uid]))
    assert run_import(version.pk)


def test_a_worker_notices_that_its_import_was_cancelled(client, waiting, monkeypatch) -> None:
    rows = '{"image": "a.png", "text": "t"}'
    version = waiting(a__zip=zip_of({"a.jsonl": rows, "a.png": picture()}))
    save = FileSystemStorage.save

    def cancelled_meanwhile(storage: FileSystemStorage, name: str, content: object, **more: object) -> str:
        client.post(reverse("datasets:cancel", args=[version.uid]))
        return save(storage, name, content, **more)

    monkeypatch.setattr(FileSystemStorage, "save", cancelled_meanwhile)
    assert not run_import(version.pk)
    version.refresh_from_db()
    assert (version.row_count, version.rows_path, version.problem_kinds) == (0, "", {"cancelled": 1})
    left = [default_storage.listdir(f"datasets/{version.uid}{part}")[1] for part in ("", "/images")]
    assert left == [[], []]


def test_only_an_import_can_be_cancelled(client, version) -> None:
    answer = client.post(reverse("datasets:cancel", args=[version.uid]), follow=True)
    assert b"Nothing is being imported" in answer.content


def test_a_viewer_cancels_nothing(client_of, bob, charlie, waiting) -> None:
    address = reverse("datasets:cancel", args=[waiting(a__jsonl=DATA).uid])
    assert client_of(bob).post(address).status_code == 403
    assert client_of(charlie).post(address).status_code == 404
