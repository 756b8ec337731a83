"""Datasets through the own API: the datasets themselves, what the operator offers to all, and connections."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.db import IntegrityError
from django.db.models import Count
from django.http import HttpResponse
from django.utils.translation import gettext as _
from ninja import Query, Router
from pydantic import BaseModel, ConfigDict, Field

from console.rest.answers import After, Limit, Next, answer, cut, find, nothing
from console.rest.authentication import ADMIN, READ, WRITE, ApiRequest
from console.rest.errors import CHANGING, COMMON, WITH_OBJECT, Error, conflict, invalid
from datasets import deletion, publishing
from datasets.api.rest_answers import VersionOut, VersionPage, version_out
from datasets.models import Connection, Dataset, DatasetVersion, SharedData, SharedKind

router = Router(tags=["Datasets"])
Kind = Literal[
    "messages", "image_caption", "image_messages", "preference", "binary_preference", "ranked", "text"
]


class DatasetOut(BaseModel):
    uid: str
    name: str
    description: str
    kind: str = Field(description="What a row is; decided by the first data")
    created_at: datetime
    created_by: str | None
    versions: int


class DatasetPage(BaseModel):
    items: list[DatasetOut]
    next: Next


class DatasetIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(description="2 to 50 characters, once a workspace")
    description: str = Field("", description="At most 500 characters")


class CreatedOut(BaseModel):
    dataset: str
    version: str = Field(description="Its V1, empty so far: upload files to it")


class NewVersionIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    start_from: str = Field("", description="A version whose rows it begins with; empty for none")


class SharedOut(BaseModel):
    version: str = Field(description="What a configuration names")
    name: str
    kind: str
    rows: int
    characters: int


class SharedList(BaseModel):
    items: list[SharedOut]


class ConnectionOut(BaseModel):
    uid: str
    name: str
    endpoint: str
    region: str
    bucket: str = Field(description="Empty where one is named with each call")
    tested_at: datetime | None


class ConnectionList(BaseModel):
    items: list[ConnectionOut]


def _dataset(request: ApiRequest, uid: str) -> Dataset:
    return find(Dataset.objects.select_related("workspace", "created_by"), request.auth, uid=uid)


def _dataset_out(dataset: Dataset, versions: int) -> DatasetOut:
    return DatasetOut(
        uid=dataset.uid,
        name=dataset.name,
        description=dataset.description,
        kind=dataset.row_type,
        created_at=dataset.created_at,
        created_by=dataset.created_by.username if dataset.created_by else None,
        versions=versions,
    )


@router.get("/datasets", auth=READ, response=COMMON | {200: DatasetPage, 422: Error}, summary="Datasets")
def datasets(
    request: ApiRequest,
    q: Annotated[str, Query(max_length=100, description="Part of the name")] = "",
    kind: Annotated[Kind | None, Query()] = None,
    after: After = "",
    limit: Limit = 20,
) -> HttpResponse:
    found = Dataset.objects.filter(workspace=request.auth.workspace)
    if text := q.replace("\0", "").strip():
        found = found.filter(name__icontains=text)
    if kind:
        found = found.filter(row_type=kind)
    page, following = cut(found.select_related("created_by"), after, limit)
    counted = DatasetVersion.objects.filter(dataset__in=page).order_by().values_list("dataset")
    counts: dict[Any, int] = dict(counted.annotate(Count("pk")))
    items = [_dataset_out(item, counts.get(item.pk, 0)) for item in page]
    return answer(request, DatasetPage(items=items, next=following))


@router.post("/datasets", auth=WRITE, response=CHANGING | {201: CreatedOut}, summary="A dataset")
def create(request: ApiRequest, given: DatasetIn) -> HttpResponse:
    """With an empty V1."""
    caller = request.auth
    name, description = given.name.strip(), given.description.replace("\r\n", "\n")
    wanted = Dataset(workspace=caller.workspace, name=name, description=description)
    # Name and description alone are the caller's.
    wanted.full_clean(exclude=["uid", "workspace", "created_by"])
    try:
        version = publishing.create_dataset(caller.workspace, caller.user, name, description)
    except IntegrityError as error:
        raise invalid("name", _("This workspace already has a dataset of that name.")) from error
    return answer(request, CreatedOut(dataset=version.dataset.uid, version=version.uid), 201)


@router.get("/datasets/{uid}", auth=READ, response=WITH_OBJECT | {200: DatasetOut}, summary="One dataset")
def dataset(request: ApiRequest, uid: str) -> HttpResponse:
    found = _dataset(request, uid)
    return answer(request, _dataset_out(found, found.versions.count()))


@router.delete("/datasets/{uid}", auth=ADMIN, response=CHANGING | {204: None}, summary="Delete a dataset")
def delete(request: ApiRequest, uid: str) -> HttpResponse:
    """With all of its versions; not while runs or offers to all need one."""
    deletion.delete_dataset(_dataset(request, uid), request.auth.user)
    return nothing()


@router.get(
    "/datasets/{uid}/versions",
    auth=READ,
    response=WITH_OBJECT | {200: VersionPage, 422: Error},
    summary="Its versions",
)
def versions(request: ApiRequest, uid: str, after: After = "", limit: Limit = 20) -> HttpResponse:
    found = _dataset(request, uid).versions.select_related("dataset", "created_by")
    page, following = cut(found.defer("problems", "statistics"), after, limit)
    return answer(request, VersionPage(items=[version_out(item) for item in page], next=following))


@router.post(
    "/datasets/{uid}/versions", auth=WRITE, response=CHANGING | {201: VersionOut}, summary="A further version"
)
def create_version(request: ApiRequest, uid: str, given: NewVersionIn) -> HttpResponse:
    """Empty, or a draft with a copy of another version's rows."""
    found, user = _dataset(request, uid), request.auth.user
    if not given.start_from:
        return answer(request, version_out(publishing.new_version(found, user)), 201)
    source = found.versions.filter(uid=given.start_from.replace("\0", "")).select_related("dataset").first()
    if source is None:
        raise invalid("start_from", _("This dataset has no such version."))
    try:
        return answer(request, version_out(publishing.new_version_from(source, user)), 201)
    except publishing.NotAllowed as reason:
        raise conflict(reason) from reason


# --- What is offered to all ----------------------------------------------------------------------------------


@router.get("/presets", auth=READ, response=COMMON | {200: SharedList}, summary="Preset datasets")
def presets(request: ApiRequest) -> HttpResponse:
    """Dataset versions that the operator offers to every workspace."""
    return answer(request, _shared(SharedKind.PRESET))


@router.get("/corpora", auth=READ, response=COMMON | {200: SharedList}, summary="General corpora")
def corpora(request: ApiRequest) -> HttpResponse:
    """What `corpus` of a configuration may name."""
    return answer(request, _shared(SharedKind.CORPUS))


def _shared(kind: SharedKind) -> SharedList:
    found = SharedData.objects.filter(kind=kind, enabled=True).select_related("version__dataset")
    items = [
        SharedOut(
            version=item.version.uid,
            name=str(item),
            kind=item.version.dataset.row_type,
            rows=item.version.row_count,
            characters=item.version.character_count,
        )
        for item in found
    ]
    return SharedList(items=items)


@router.get("/connections", auth=READ, response=COMMON | {200: ConnectionList}, summary="Object storage")
def connections(request: ApiRequest) -> HttpResponse:
    """The workspace's connections to S3 or BOS; they are made in the console."""
    items = [
        ConnectionOut(
            uid=item.uid,
            name=item.name,
            endpoint=item.endpoint,
            region=item.region,
            bucket=item.bucket,
            tested_at=item.tested_at,
        )
        for item in Connection.objects.filter(workspace=request.auth.workspace)
    ]
    return answer(request, ConnectionList(items=items))
