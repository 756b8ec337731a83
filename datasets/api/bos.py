"""Data in BOS, as Qianfan's API names them: `bos:/bucket/folder/` or `bos:/bucket/folder/file.jsonl`.

They are imported through the connection of the workspace that has the bucket."""

from __future__ import annotations

import posixpath
import re

from django.core.exceptions import ValidationError

from console.api.errors import conflict, invalid
from console.api.keys import Caller
from datasets import objects, publishing
from datasets.connections import ConnectionFailed
from datasets.models import Connection, DatasetVersion

_PLACE = re.compile(r"bos:/{1,2}(?P<bucket>[^/]+)/(?P<key>.*)", re.DOTALL)


def start_import(caller: Caller, version: DatasetVersion, files: list[str]) -> None:
    """Starts the import of one folder, or of files of one bucket, into a version. Raises Refused."""
    places = [_PLACE.fullmatch(file) for file in files]
    found = [place.groups() for place in places if place]
    if not found or len(found) < len(files):
        raise invalid(
            "Each file is named as bos:/bucket/folder/file.jsonl, or one folder as bos:/bucket/folder/.",
            "files",
        )
    buckets = {bucket for bucket, _key in found}
    keys = [key for _bucket, key in found]
    folders = [key for key in keys if not key or key.endswith("/")]
    if len(buckets) > 1 or (folders and len(keys) > 1):
        raise invalid("Name one folder, or files of one bucket.", "files")
    bucket = buckets.pop()
    connection = _connection(caller, bucket)
    folder = folders[0] if folders else _above(keys)
    try:
        objects.import_from(version, connection, bucket, folder, None if folders else keys)
    except ValidationError as error:
        raise invalid(" ".join(error.messages), "files") from error
    except ConnectionFailed as failed:
        raise invalid(str(failed), "files") from failed
    except publishing.NotAllowed as reason:
        raise conflict(str(reason), "versionId") from reason


def _connection(caller: Caller, bucket: str) -> Connection:
    """The connection to a bucket: one that names it, else one to all buckets. Raises Refused."""
    connections = Connection.objects.filter(workspace=caller.workspace, bucket__in=(bucket, ""))
    found = connections.order_by("-bucket", "pk").first()
    if found is None:
        raise invalid(
            f"This workspace has no connection to the bucket {bucket!r}. Add one on the page of data sources.",
            "files",
        )
    return found


def _above(keys: list[str]) -> str:
    """The folder that all of them lie in: "" or "a/b/"."""
    common = posixpath.commonpath([posixpath.dirname(f"/{key}") for key in keys]).lstrip("/")
    return f"{common}/" if common else ""
