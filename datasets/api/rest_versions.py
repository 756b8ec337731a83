"""One dataset version through the own API: filled, looked at, published, taken away."""

from __future__ import annotations

from itertools import chain, islice
from typing import Annotated, Any

import msgspec
from django.core.exceptions import ValidationError
from django.http import Http404, HttpResponse, QueryDict, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from ninja import File, Form, Query, Router
from ninja.files import UploadedFile
from pydantic import BaseModel, ConfigDict, Field

from console.api.keys import Caller
from console.downloads import as_file
from console.rest.answers import MOST, answer, find, nothing
from console.rest.authentication import ADMIN, READ, WRITE, ApiRequest
from console.rest.errors import CHANGING, WITH_OBJECT, Error, conflict, file_of, invalid, invalid_fields
from datasets import deletion, exporting, locations, objects, publishing, uploads
from datasets.api.rest_answers import VersionOut, version_out
from datasets.browsing import files_of
from datasets.browsing import find as find_rows
from datasets.connections import ConnectionFailed
from datasets.formats import FORMATS
from datasets.models import Connection, DatasetVersion, VersionState
from datasets.problems import KINDS, every, message
from datasets.row_filter import RowFilter
from datasets.rows import page_of_rows

router = Router(tags=["Dataset versions"])


class ImportIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    connection: str = Field(description="cn-…; GET /connections lists them")
    bucket: str = Field("", description="Where the connection names none")
    folder: str = Field("", description="The folder that the keys lie in, with a / at its end")
    keys: list[str] | None = Field(
        None, description="Objects; null for all of an accepted kind", max_length=100
    )


class PlaceIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    bucket: str = Field("", description="Where the connection names none")
    folder: str = Field("", description="The parent of a folder jsonl/")


class ProblemOut(BaseModel):
    level: str
    kind: str
    file: str
    line: int | None
    row: int | None
    field: str
    message: str
    excerpt: str


class ProblemsOut(BaseModel):
    total: int
    by_kind: dict[str, int]
    items: list[ProblemOut]
    next: int | None = Field(description="Goes back as `start`; null at the end")


class StatisticsOut(BaseModel):
    """Empty until the rows are there, and for data used in place."""

    statistics: dict[str, Any]


class RowOut(BaseModel):
    number: int
    origin: str = Field(description="Where it was read: file:line")
    row: dict[str, Any]


class RowsOut(BaseModel):
    total: int = Field(description="Rows of the version, whatever the filter")
    items: list[RowOut]
    next: int | None = Field(description="Goes back as `start`; null at the end")


class ExportOut(BaseModel):
    key: str
    format: str
    file: str


class ExportsOut(BaseModel):
    items: list[ExportOut]


def _version(request: ApiRequest, uid: str) -> DatasetVersion:
    versions = DatasetVersion.objects.select_related("dataset__workspace", "created_by", "location")
    return find(versions, request.auth, "dataset__workspace", uid=uid)


def _connection(caller: Caller, uid: str) -> Connection:
    try:
        return find(Connection.objects.select_related("workspace"), caller, uid=uid)
    except Http404 as error:
        raise invalid("connection", _("There is no such connection.")) from error


def _changed(request: ApiRequest, version: DatasetVersion, status: int = 200) -> HttpResponse:
    return answer(request, version_out(_version(request, version.uid)), status)


@router.get(
    "/dataset-versions/{uid}",
    auth=READ,
    response=WITH_OBJECT | {200: VersionOut},
    summary="One dataset version",
)
def version(request: ApiRequest, uid: str) -> HttpResponse:
    """Ask again while its state is importing."""
    return answer(request, version_out(_version(request, uid)))


@router.delete(
    "/dataset-versions/{uid}", auth=ADMIN, response=CHANGING | {204: None}, summary="Delete a dataset version"
)
def delete(request: ApiRequest, uid: str) -> HttpResponse:
    deletion.delete_version(_version(request, uid), request.auth.user)
    return nothing()


# --- Filling -------------------------------------------------------------------------------------------------


@router.post(
    "/dataset-versions/{uid}/files",
    auth=WRITE,
    response=CHANGING | {202: VersionOut},
    summary="Upload files",
)
def upload(
    request: ApiRequest,
    uid: str,
    files: File[list[UploadedFile]],
    format: Form[str] = "",
) -> HttpResponse:
    """Replaces the files of a version that is not published, and imports them; `format` empty: detected."""
    found = _version(request, uid)
    if format and format not in FORMATS:
        raise invalid("format", _("must be one of %(values)s.") % {"values": ", ".join(FORMATS)})
    try:
        publishing.require_open(found)
        uploads.check(files)
        uploads.import_files(found, files, format)
    except ValidationError as error:
        raise invalid_fields({"files": error.messages}) from error
    except publishing.NotAllowed as reason:
        raise conflict(reason) from reason
    return _changed(request, found, 202)


@router.post(
    "/dataset-versions/{uid}/imports",
    auth=WRITE,
    response=CHANGING | {202: VersionOut},
    summary="Import from object storage",
)
def import_objects(request: ApiRequest, uid: str, given: ImportIn) -> HttpResponse:
    """Objects of a bucket, copied by a worker."""
    found, connection = _version(request, uid), _connection(request.auth, given.connection)
    try:
        objects.import_from(found, connection, connection.bucket or given.bucket, given.folder, given.keys)
    except ValidationError as error:
        raise invalid_fields({"keys": error.messages}) from error
    except ConnectionFailed as failed:
        raise invalid(failed.field or "connection", failed.message) from failed
    except publishing.NotAllowed as reason:
        raise conflict(reason) from reason
    return _changed(request, found, 202)


@router.post(
    "/connections/{uid}/use-in-place",
    auth=WRITE,
    response=CHANGING | {202: VersionOut},
    summary="Use a folder of object storage in place",
)
def use_in_place(request: ApiRequest, uid: str, given: PlaceIn) -> HttpResponse:
    """Makes it a dataset version whose rows stay where they are; a worker counts them."""
    connection = find(Connection.objects.select_related("workspace"), request.auth, uid=uid)
    try:
        found = locations.create(
            connection, request.auth.user, connection.bucket or given.bucket, given.folder
        )
    except ConnectionFailed as failed:
        raise invalid(failed.field or "folder", failed.message) from failed
    return _changed(request, found, 202)


@router.post(
    "/dataset-versions/{uid}/accept",
    auth=WRITE,
    response=CHANGING | {200: VersionOut},
    summary="Take the good rows of a failed import",
)
def accept(request: ApiRequest, uid: str) -> HttpResponse:
    found = _version(request, uid)
    try:
        publishing.accept_good_rows(found)
    except publishing.NotAllowed as reason:
        raise conflict(reason) from reason
    return _changed(request, found)


@router.post(
    "/dataset-versions/{uid}/publish", auth=WRITE, response=CHANGING | {200: VersionOut}, summary="Publish it"
)
def publish(request: ApiRequest, uid: str) -> HttpResponse:
    """For good: a published version never changes. Publishing twice is no error."""
    found = _version(request, uid)
    if found.state != VersionState.PUBLISHED:
        try:
            publishing.publish(found)
        except publishing.NotAllowed as reason:
            raise conflict(reason) from reason
    return _changed(request, found)


# --- Looking -------------------------------------------------------------------------------------------------


@router.get(
    "/dataset-versions/{uid}/problems",
    auth=READ,
    response=WITH_OBJECT | {200: ProblemsOut, 422: Error},
    summary="What its import found",
)
def problems(
    request: ApiRequest,
    uid: str,
    start: Annotated[int, Query(ge=0, le=10**9, description="How many to pass over")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> HttpResponse:
    found = _version(request, uid)
    try:
        shown = list(islice(every(found), start, start + limit + 1))
    except FileNotFoundError as error:
        raise Http404(_("The problems are no longer in the storage.")) from error
    items = [
        ProblemOut(
            level=KINDS[item["kind"]].level,
            kind=item["kind"],
            file=item["file"],
            line=item["line"],
            row=item["row"],
            field=item["field"],
            message=message(item),
            excerpt=item["excerpt"],
        )
        for item in shown[:limit]
    ]
    following = start + limit if len(shown) > limit else None
    told = ProblemsOut(total=found.problem_count, by_kind=found.problem_kinds, items=items, next=following)
    return answer(request, told)


@router.get(
    "/dataset-versions/{uid}/statistics",
    auth=READ,
    response=WITH_OBJECT | {200: StatisticsOut},
    summary="Figures of its rows",
)
def statistics(request: ApiRequest, uid: str) -> HttpResponse:
    """Histograms of characters and turns, languages, duplicates, warnings."""
    return answer(request, StatisticsOut(statistics=_version(request, uid).statistics))


class RowQuery(BaseModel):
    """What rows are looked for; all of it optional."""

    q: str = Field("", max_length=200, description="A text in them")
    regex: bool = Field(False, description="Whether q is a regular expression (RE2)")
    turns_min: int | None = Field(None, ge=0, le=2**31 - 1)
    turns_max: int | None = Field(None, ge=0, le=2**31 - 1)
    characters_min: int | None = Field(None, ge=0, le=2**31 - 1)
    characters_max: int | None = Field(None, ge=0, le=2**31 - 1)
    language: str = Field("", max_length=20, description="zh, en, mixed or other")
    flag: str = Field("", max_length=50, description="A kind of warning")
    file: str = Field("", max_length=255)
    start: int = Field(1, ge=1, le=10**12, description="Number of the first row that is looked at")
    limit: int = Field(20, ge=1, le=MOST)


@router.get(
    "/dataset-versions/{uid}/rows",
    auth=READ,
    response=WITH_OBJECT | {200: RowsOut, 422: Error},
    summary="Its rows",
)
def rows(request: ApiRequest, uid: str, asked: Query[RowQuery]) -> HttpResponse:
    """Those that fit the filter, in order. Of data used in place the first rows are known, and are not searched."""
    found = _version(request, uid)
    if found.state in (VersionState.EMPTY, VersionState.IMPORTING):
        return answer(request, RowsOut(total=0, items=[], next=None))
    try:
        told = _found(found, asked) if found.rows_path else _in_place(found, asked)
    except FileNotFoundError as error:
        raise Http404(_("The rows are no longer in the storage.")) from error
    return answer(request, told)


def _found(version: DatasetVersion, asked: RowQuery) -> RowsOut:
    given = QueryDict(mutable=True)
    for name, value in asked.model_dump(exclude={"start", "limit"}, exclude_defaults=True).items():
        given[name] = str(value)
    form = RowFilter(given, files=files_of(version))
    if not form.is_valid():
        raise invalid_fields({name: list(map(str, errors)) for name, errors in form.errors.items()})
    total = version.row_count
    if asked.start > total:
        return RowsOut(total=total, items=[], next=None)
    hits = find_rows(version, form.query(), asked.start, limit=asked.limit)
    items = [
        RowOut(
            number=hit.number,
            origin=f"{hit.file}:{hit.place}" if hit.file else "",
            row=msgspec.json.decode(hit.line),
        )
        for hit in hits.hits
    ]
    return RowsOut(total=total, items=items, next=hits.last + 1 if hits.last < total else None)


def _in_place(version: DatasetVersion, asked: RowQuery) -> RowsOut:
    first = page_of_rows(version, asked.start - 1, asked.limit) if asked.start <= version.row_count else []
    items = [RowOut(number=asked.start + at, origin="", row=row) for at, row in enumerate(first)]
    return RowsOut(total=version.row_count, items=items, next=None)


@router.get(
    "/dataset-versions/{uid}/exports",
    auth=READ,
    response=WITH_OBJECT | {200: ExportsOut},
    summary="How it may be exported",
)
def exports(request: ApiRequest, uid: str) -> HttpResponse:
    found = _version(request, uid)
    items = [
        ExportOut(key=item.key, format=str(item.format.label), file=exporting.file_name(found, item))
        for item in (exporting.exports_of(found) if found.row_count else [])
    ]
    return answer(request, ExportsOut(items=items))


@router.get(
    "/dataset-versions/{uid}/export",
    auth=READ,
    response=WITH_OBJECT | {422: Error},
    openapi_extra=file_of("*/*"),
    summary="Export it",
)
def export(
    request: ApiRequest,
    uid: str,
    key: Annotated[str, Query(max_length=50, description="One of …/exports")],
    leave_out: Annotated[bool, Query(description="Go without rows that the format has no place for")] = False,
) -> HttpResponseBase:
    """The file. Refused where rows would lose something, unless `leave_out` is given."""
    found = _version(request, uid)
    try:
        chosen = exporting.choose(found, key)
        if not leave_out and (loss := exporting.loss(found, chosen)):
            text = _(
                "%(count)d rows would be left out, the first is number %(first)d: they have %(feature)s."
            )
            raise invalid(
                "leave_out", text % {"count": loss.count, "first": loss.first, "feature": loss.feature}
            )
        pieces = exporting.written(found, chosen)
        # The first piece now: what the storage has lost is said, not sent as half a file.
        first = next(pieces, b"")
    except exporting.Refused as reason:
        raise invalid("key", reason) from reason
    except FileNotFoundError as error:
        raise Http404(_("The rows are no longer in the storage.")) from error
    response = StreamingHttpResponse(chain((first,), pieces), content_type=chosen.container.content_type)
    return as_file(response, exporting.file_name(found, chosen))
