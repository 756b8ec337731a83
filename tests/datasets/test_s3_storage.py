"""The same import, preview and download with an S3 endpoint as the storage."""

from collections.abc import Iterator

import pytest
from django.urls import reverse

from console import env
from datasets.imports import run_import
from datasets.models import VersionState
from datasets.pictures import copy_pictures, open_picture
from datasets.rows import iter_rows, page_of_rows
from datasets.storage import copy
from tests.datasets.making import picture, zip_of

GOOD = '[{"prompt": "你好", "response": "Hi!"}]'

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server with the bucket `data`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket="data")
    yield address
    server.stop()


@pytest.fixture
def s3_storage(endpoint: str, settings, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    place = f"s3://data/prefix?endpoint={endpoint}&region=us-east-1&path_style=1"
    settings.STORAGES = settings.STORAGES | {"default": env.storage("STORE", place)}


def test_a_version_lives_in_a_bucket(s3_storage, waiting) -> None:
    version = waiting(a__jsonl="\n".join([GOOD] * 50))
    assert run_import(version.pk)
    version.refresh_from_db()
    assert (version.state, version.row_count) == (VersionState.DRAFT, 50)
    assert len(list(iter_rows(version))) == 50
    assert page_of_rows(version, 49, 20)[0]["messages"][0]["content"] == "你好"
    assert version.statistics["languages"] == {"other": 50}


def test_a_repeated_import_leaves_one_file_of_rows(s3_storage, waiting) -> None:
    from django.core.files.storage import default_storage

    version = waiting(a__jsonl=GOOD)
    for _time in range(2):
        version.state, version.import_heartbeat_at = VersionState.IMPORTING, None
        version.save(update_fields=["state", "import_heartbeat_at"])
        assert run_import(version.pk)
    assert default_storage.listdir(f"datasets/{version.uid}")[1] == ["rows-2.parquet"]


def test_a_file_that_the_bucket_lost_is_named(s3_storage, waiting) -> None:
    from django.core.files.storage import default_storage

    version = waiting(a__jsonl=GOOD)
    default_storage.delete(version.files.get().path)
    run_import(version.pk)
    version.refresh_from_db()
    assert version.problem_kinds == {"file_missing": 1}


def test_pictures_live_in_the_bucket(s3_storage, imported, client_of, alice, tmp_path) -> None:
    version = imported({"a.zip": zip_of({"1.png": picture(), "1.txt": "red"})})
    (row,) = page_of_rows(version, 0, 9)
    name = row["image"].removeprefix("images/")
    assert copy_pictures(version, [row["image"]], tmp_path) == len(picture())
    answer = client_of(alice).get(reverse("datasets:picture", args=[version.uid, name]))
    assert answer.getvalue() == picture()
    assert client_of(alice).get(reverse("datasets:thumbnail", args=[version.uid, name])).status_code == 200
    with pytest.raises(FileNotFoundError):
        open_picture(version, "0000000000000000.png")


def test_a_bucket_copies_by_itself(s3_storage) -> None:
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    path = default_storage.save("datasets/one/rows-1.parquet", ContentFile(b"rows"))
    made = copy(path, "datasets/two/rows-1.parquet")
    default_storage.delete(path)
    with default_storage.open(made) as file:
        assert (made, file.read()) == ("datasets/two/rows-1.parquet", b"rows")
    with pytest.raises(FileNotFoundError):
        copy(path, "datasets/three/rows-1.parquet")
