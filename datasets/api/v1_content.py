"""The rows of a version for Qianfan's SDK and its command line: row by row (`entity/list`), and all of them as a zip
(`dataset/export`, `dataset/exportRecord`).

The SDK fetches both from addresses without a signature, as those of BOS are. Ours hold one: which version, which row,
on behalf of which key. They are good for a few minutes, and no longer than the key.
"""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain
from typing import Any

import msgspec
from django.core import signing
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_GET
from msgspec import Struct
from zipstream import ZipStream

from console.api.errors import Refused, invalid
from console.api.keys import Caller, caller_by_id
from console.api.qianfan import Action
from console.downloads import as_file
from datasets import exporting
from datasets.api import lookups
from datasets.api.v1 import OneVersion
from datasets.formats import FORMATS
from datasets.models import DatasetVersion, RowType
from datasets.rows import iter_rows, page_of_rows

SALT = "jingtiao: rows for Qianfan's SDK"
MINUTES = 10
MOST_ROWS = 30


class ListRows(Struct, rename="camel"):
    """`offset` counts rows from 0."""

    dataset_id: str
    offset: int = 0
    page_size: int = 20


def list_rows(caller: Caller, body: ListRows) -> dict[str, Any]:
    """The rows as numbers and addresses, under which their texts lie."""
    version = _filled(caller, body.dataset_id)
    if body.offset < 0 or body.page_size < 1:
        raise invalid("offset must be at least 0 and pageSize at least 1.", "offset")
    last = min(body.offset + min(body.page_size, MOST_ROWS), version.row_count)
    items = [
        {"id": str(number), "url": _address(caller, version, number)} for number in range(body.offset, last)
    ]
    return {"items": items, "total": version.row_count, "offset": body.offset, "pageSize": body.page_size}


def export(caller: Caller, body: OneVersion) -> bool:
    """Nothing to be done beforehand: the file is written while it is fetched."""
    _filled(caller, body.dataset_id)
    return True


def export_records(caller: Caller, body: OneVersion) -> list[dict[str, Any]]:
    """One record, of now."""
    version = _filled(caller, body.dataset_id)
    now = timezone.localtime().isoformat(timespec="seconds")
    return [
        {
            "creatorName": str(caller.user),
            "exportTo": 0,
            "exportStatus": 2,
            "startTime": now,
            "finishTime": now,
            "downloadUrl": _address(caller, version, None),
        }
    ]


def _filled(caller: Caller, uid: str) -> DatasetVersion:
    version = lookups.version(caller, uid, "datasetId", own=False)
    if not version.row_count or not exporting.exports_of(version):
        raise invalid("This version has no rows.", "datasetId")
    return version


def _address(caller: Caller, version: DatasetVersion, row: int | None) -> str:
    token = signing.dumps([caller.key.pk, version.uid, row], salt=SALT)
    return caller.origin + reverse("qianfan_rows", args=[token])


@require_GET
def content(request: HttpRequest, token: str) -> HttpResponseBase:
    """A row as text, or all of them as a zip, for whoever has the address."""
    try:
        key, uid, row = signing.loads(token, salt=SALT, max_age=60 * MINUTES)
    except signing.BadSignature:
        return HttpResponse("This address is no longer good.", status=HTTPStatus.FORBIDDEN)
    caller = caller_by_id(key)
    if caller is None:
        return HttpResponse("The key was revoked.", status=HTTPStatus.FORBIDDEN)
    try:
        version = _filled(caller, uid)
        chosen = _export_of(version)
        if row is None:
            return _zipped(version, chosen)
        found = page_of_rows(version, row, 1)
    except (Refused, FileNotFoundError):
        return HttpResponse("These rows are gone.", status=HTTPStatus.NOT_FOUND)
    text = msgspec.json.encode(chosen.format.record(found[0]))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def _export_of(version: DatasetVersion) -> exporting.Export:
    """Qianfan's own format for conversations, else the first there is."""
    exports = exporting.exports_of(version)
    is_chat = version.dataset.row_type == RowType.MESSAGES
    own = FORMATS["prompt_response"] if is_chat else exports[0].format
    return next(item for item in exports if item.format == own)


def _zipped(version: DatasetVersion, chosen: exporting.Export) -> StreamingHttpResponse:
    is_chat = version.dataset.row_type == RowType.MESSAGES
    written = _turns_alike(version, chosen) if is_chat else exporting.written(version, chosen)
    # The first piece now: what the storage has lost is said, not sent as half a file.
    pieces: Iterator[bytes] | ZipStream = chain([next(written, b"")], written)
    if chosen.container.key != "zip":
        archive = ZipStream()
        archive.add(pieces, exporting.file_name(version, chosen))
        pieces = archive
    response = StreamingHttpResponse(pieces, content_type="application/zip")
    return as_file(response, f"{version.dataset.name}-{version.label}.zip")


def _turns_alike(version: DatasetVersion, chosen: exporting.Export) -> Iterator[bytes]:
    """Conversations as JSON lines, every turn with the same keys: the SDK puts them into one table, piece by piece,
    and takes no piece that has a column more than the first."""
    optional: dict[str, Any] = {"system": "", "weight": 1}
    used = {key for line in iter_rows(version) for key in optional if f'"{key}"'.encode() in line}
    filled = {key: value for key, value in optional.items() if key in used}
    for line in iter_rows(version):
        turns = chosen.format.record(msgspec.json.decode(line))
        yield msgspec.json.encode([filled | turn for turn in turns]) + b"\n"


DATASET_ACTIONS = {"export": Action(export, OneVersion), "exportRecord": Action(export_records, OneVersion)}
ENTITY_ACTIONS = {"list": Action(list_rows, ListRows)}
