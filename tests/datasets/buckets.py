"""An S3 server (moto's, over HTTP) with a bucket, for the tests of connections and locations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from console.models import Workspace
from datasets.connections import set_secret
from datasets.models import Connection

BUCKET = "data"


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a server with the bucket `data`."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104
    admin(address).create_bucket(Bucket=BUCKET)
    yield address
    server.stop()


@lru_cache(maxsize=8)
def admin(address: str, service: str = "s3") -> Any:
    """A client that may do everything."""
    keys = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}
    return boto3.client(service, endpoint_url=address, **keys)


def fill(address: str, **objects: str | bytes) -> None:
    """Puts objects into the bucket; `__` in a name is a slash, the last one a dot."""
    for name, content in objects.items():
        folder, _dot, suffix = name.rpartition("__")
        key = f"{folder.replace('__', '/')}.{suffix}"
        admin(address).put_object(Bucket=BUCKET, Key=key, Body=content)


def connect(address: str, workspace: Workspace, **fields: str) -> Connection:
    """A connection of a workspace, saved without a test."""
    values = {"name": "Bucket", "bucket": BUCKET, "region": "us-east-1", "access_key": "x"} | fields
    connection = Connection(workspace=workspace, endpoint=address, **values)
    set_secret(connection, "x")
    connection.save()
    return connection
