"""Copies of published versions in a bucket, against an S3 server over HTTP: what arrives, who may, what goes on."""

import hashlib

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse

from catalog import pushing
from catalog.models import BaseModel, Model, ModelFamily, ModelVersion, Push
from catalog.models.pushes import PushState
from tests.datasets.buckets import BUCKET, admin, connect, s3_server

FILES = {
    "model.safetensors": b"not really weights" * 100,
    "merged/config.json": b"{}",
    "README.md": b"---\n---\n",
}
HTMX = {"headers": {"hx-request": "true"}}


@pytest.fixture(scope="module")
def address():
    with s3_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _allowed(settings):
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.0/8"]


@pytest.fixture
def connection(address, workspace):
    return connect(address, workspace)


@pytest.fixture
def version(workspace) -> ModelVersion:
    family = ModelFamily.objects.create(key="toy", name="Toy", model_type="text2text")
    base = BaseModel.objects.create(family=family, name="Toy-8K")
    model = Model.objects.create(workspace=workspace, name="kefu", model_type="text2text")
    files = []
    for name, content in FILES.items():
        default_storage.save(f"models/v/{name}", ContentFile(content))
        digest = hashlib.sha256(content).hexdigest()
        files.append({"name": name, "size": len(content), "sha256": digest})
    size = sum(file["size"] for file in files)
    return ModelVersion.objects.create(
        model=model, number=1, state="Ready", base_model=base, method="LoRA", path="models/v", size=size, files=files
    )  # fmt: skip


@pytest.fixture
def push(version, alice, connection, address) -> Push:
    """Waiting; nothing of an earlier test lies where it goes."""
    for name in FILES:
        admin(address).delete_object(Bucket=BUCKET, Key=f"for/production/{name}")
    return pushing.request(version, alice, connection, "", "for/production/")


def bucket_content(address: str, folder: str) -> dict[str, bytes]:
    found = admin(address).list_objects_v2(Bucket=BUCKET, Prefix=folder).get("Contents", [])
    keys = [item["Key"] for item in found]
    read = {key: admin(address).get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
    return {key.removeprefix(f"{folder}/"): content for key, content in read.items()}


def test_every_file_arrives_and_says_its_checksum(push, address, version):
    assert pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert (push.state, push.bytes_done, push.error) == (PushState.DONE, version.size, "")
    assert push.address == f"s3://{BUCKET}/for/production/"
    assert bucket_content(address, "for/production") == FILES
    head = admin(address).head_object(Bucket=BUCKET, Key="for/production/model.safetensors")
    assert head["Metadata"]["sha256"] == version.files[0]["sha256"]


def test_large_files_go_in_parts(push, address, version, monkeypatch):
    monkeypatch.setattr(
        pushing, "TRANSFER", pushing.TransferConfig(multipart_threshold=1000, use_threads=False)
    )
    assert pushing.carry_out(push.pk)
    assert bucket_content(address, "for/production") == FILES


def test_what_has_arrived_is_not_sent_again(push, address, monkeypatch):
    """A worker that died: its push is taken after a minute of silence, and goes on with what is missing."""
    assert pushing.carry_out(push.pk)
    Push.objects.update(state=PushState.RUNNING, heartbeat_at="2026-01-01T00:00Z")
    assert pushing.waiting() == [push.pk]
    monkeypatch.setattr(pushing, "stream", lambda path: pytest.fail(f"{path} was read again"))
    assert pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert (push.state, push.attempt) == (PushState.DONE, 2)


def test_only_one_worker_copies(push):
    assert pushing._claim(push.pk) is not None
    assert pushing._claim(push.pk) is None and pushing.waiting() == []


def test_worker_that_lost_its_claim_stops_and_changes_nothing(push, version, monkeypatch):
    def lose(path: str):
        Push.objects.update(attempt=7)
        return default_storage.open(path).file

    monkeypatch.setattr(pushing, "stream", lose)
    assert not pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert (push.state, push.attempt) == (PushState.RUNNING, 7)


def test_server_that_refuses_fails_the_push_with_its_reason(push, connection):
    Push.objects.update(bucket="nowhere")
    assert pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert push.state == PushState.FAILED and "nowhere" in push.error


def test_lost_file_is_named_as_such(push, version):
    default_storage.delete("models/v/model.safetensors")
    assert pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert push.state == PushState.FAILED and "lost a file" in push.error


def test_deleted_connection_ends_the_push(push, connection):
    connection.delete()
    assert pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert push.state == PushState.FAILED and "connection" in push.error


@pytest.mark.parametrize("folder", ["a/../b", "a//b", "./a"])
def test_folder_that_is_no_path_is_refused(version, alice, connection, folder):
    with pytest.raises(pushing.PushRefused) as refused:
        pushing.request(version, alice, connection, "", folder)
    assert refused.value.field == "folder" and not Push.objects.exists()


def test_page_copies_shows_and_refuses_twice(client_of, alice, version, connection):
    url, data = reverse("models:pushes", args=[version.uid]), {"connection": connection.uid, "folder": "here"}
    client = client_of(alice)
    answer = client.post(url, data, **HTMX)
    assert answer.status_code == 200 and f"s3://{BUCKET}/here/" in answer.content.decode()
    assert "hx-trigger" in client.get(url, **HTMX).content.decode()
    again = client.post(url, data, **HTMX)
    assert again.status_code == 422 and Push.objects.count() == 1
    assert (
        f"s3://{BUCKET}/here/" in client.get(reverse("models:version", args=[version.uid])).content.decode()
    )


def test_bucket_is_asked_for_where_the_connection_names_none(client_of, alice, version, address, workspace):
    other = connect(address, workspace, name="All", bucket="")
    url = reverse("models:pushes", args=[version.uid])
    answer = client_of(alice).post(url, {"connection": other.uid, "folder": ""})
    assert answer.status_code == 422 and "name one here" in answer.content.decode()


def test_only_members_copy_and_strangers_learn_nothing(client_of, bob, charlie, version, connection):
    url = reverse("models:pushes", args=[version.uid])
    assert client_of(bob).post(url, {"connection": connection.uid}).status_code == 403
    assert client_of(bob).get(url, **HTMX).status_code == 200
    assert client_of(charlie).get(url, **HTMX).status_code == 404
    assert client_of(charlie).post(url, {}).status_code == 404
    assert client_of(bob).put(url).status_code == 405


def test_connection_of_another_workspace_is_no_choice(client_of, alice, charlie, version, address):
    theirs = connect(address, charlie.memberships.get().workspace)
    answer = client_of(alice).post(reverse("models:pushes", args=[version.uid]), {"connection": theirs.uid})
    assert answer.status_code == 422 and not Push.objects.exists()
