"""The registry of trained models through the own API."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

from django.core.files.storage import default_storage
from django.db.models import Count
from django.http import FileResponse, Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from ninja import Query, Router
from pydantic import BaseModel, Field

from catalog import deletion
from catalog.archive import archive, folder_name
from catalog.models import Model, ModelVersion
from catalog.models.registry import ModelVersionState
from console.downloads import as_file
from console.rest.answers import After, Limit, Next, answer, cut, find, nothing
from console.rest.authentication import ADMIN, READ, ApiRequest
from console.rest.errors import CHANGING, COMMON, WITH_OBJECT, Error, file_of

router = Router(tags=["Models"])


class ModelOut(BaseModel):
    uid: str
    name: str
    type: str
    created_at: datetime
    versions: int


class ModelPage(BaseModel):
    items: list[ModelOut]
    next: Next


class ModelVersionOut(BaseModel):
    uid: str
    model: str
    name: str
    version: int
    state: str = Field(description="Creating, Ready or Fail")
    base_model: str
    method: str
    size: int
    run: str | None = Field(description="task-… that it came from")
    created_at: datetime
    created_by: str | None


class ModelVersionPage(BaseModel):
    items: list[ModelVersionOut]
    next: Next


class FileOut(BaseModel):
    name: str
    size: int
    sha256: str


class ModelVersionDetail(ModelVersionOut):
    files: list[FileOut]
    metrics: dict[str, Any]


def _version_fields(version: ModelVersion) -> dict[str, Any]:
    run = getattr(version, "run", None)
    return {
        "uid": version.uid,
        "model": version.model.uid,
        "name": version.model.name,
        "version": version.number,
        "state": version.state,
        "base_model": version.base_model.name,
        "method": version.method,
        "size": version.size,
        "run": run.uid if run else None,
        "created_at": version.created_at,
        "created_by": version.created_by.username if version.created_by else None,
    }


def _model(request: ApiRequest, uid: str) -> Model:
    return find(Model.objects.select_related("workspace"), request.auth, uid=uid)


def _version(request: ApiRequest, uid: str, **conditions: Any) -> ModelVersion:
    versions = ModelVersion.objects.select_related("model__workspace", "base_model", "run", "created_by")
    return find(versions.filter(**conditions), request.auth, "model__workspace", uid=uid)


@router.get("/models", auth=READ, response=COMMON | {200: ModelPage, 422: Error}, summary="Models")
def models(
    request: ApiRequest,
    q: Annotated[str, Query(max_length=100, description="Part of the name")] = "",
    after: After = "",
    limit: Limit = 20,
) -> HttpResponse:
    found = Model.objects.filter(workspace=request.auth.workspace).annotate(count=Count("versions"))
    if text := q.replace("\0", "").strip():
        found = found.filter(name__icontains=text)
    items, following = cut(found, after, limit)
    return answer(request, ModelPage(items=[_model_out(item, item.count) for item in items], next=following))  # type: ignore[attr-defined]  # an annotation


@router.get("/models/{uid}", auth=READ, response=WITH_OBJECT | {200: ModelOut}, summary="One model")
def model(request: ApiRequest, uid: str) -> HttpResponse:
    found = _model(request, uid)
    return answer(request, _model_out(found, found.versions.count()))


def _model_out(model: Model, versions: int) -> ModelOut:
    return ModelOut(
        uid=model.uid,
        name=model.name,
        type=model.model_type,
        created_at=model.created_at,
        versions=versions,
    )


@router.delete("/models/{uid}", auth=ADMIN, response=CHANGING | {204: None}, summary="Delete a model")
def delete_model(request: ApiRequest, uid: str) -> HttpResponse:
    """With all of its versions; the runs that they came from stay."""
    deletion.delete_model(_model(request, uid), request.auth.user)
    return nothing()


@router.get(
    "/models/{uid}/versions",
    auth=READ,
    response=WITH_OBJECT | {200: ModelVersionPage, 422: Error},
    summary="Its versions",
)
def versions(request: ApiRequest, uid: str, after: After = "", limit: Limit = 20) -> HttpResponse:
    found = _model(request, uid).versions.select_related("model", "base_model", "run", "created_by")
    items, following = cut(found, after, limit)
    page = [ModelVersionOut(**_version_fields(item)) for item in items]
    return answer(request, ModelVersionPage(items=page, next=following))


@router.get(
    "/model-versions/{uid}",
    auth=READ,
    response=WITH_OBJECT | {200: ModelVersionDetail},
    summary="One version of a model",
)
def version(request: ApiRequest, uid: str) -> HttpResponse:
    found = _version(request, uid)
    files = [FileOut(name=item["name"], size=item["size"], sha256=item["sha256"]) for item in found.files]
    detail = ModelVersionDetail(**_version_fields(found), files=files, metrics=found.metrics)
    return answer(request, detail)


@router.delete(
    "/model-versions/{uid}",
    auth=ADMIN,
    response=CHANGING | {204: None},
    summary="Delete a version of a model",
)
def delete_version(request: ApiRequest, uid: str) -> HttpResponse:
    """The model goes with its last version."""
    deletion.delete_version(_version(request, uid), request.auth.user)
    return nothing()


@router.get(
    "/model-versions/{uid}/archive",
    auth=READ,
    response=WITH_OBJECT,
    openapi_extra=file_of("application/zip"),
    summary="Its files as a .zip",
)
def version_archive(request: ApiRequest, uid: str) -> HttpResponseBase:
    found = _version(request, uid, state=ModelVersionState.READY)
    content = archive(found)
    response = StreamingHttpResponse(content, content_type="application/zip")
    response["Content-Length"] = str(len(content))
    return as_file(response, f"{folder_name(found)}.zip")


@router.get(
    "/model-versions/{uid}/files/{path:name}",
    auth=READ,
    response=WITH_OBJECT,
    openapi_extra=file_of("*/*"),
    summary="One of its files",
)
def version_file(request: ApiRequest, uid: str, name: str) -> HttpResponseBase:
    found = _version(request, uid, state=ModelVersionState.READY)
    if name not in {item["name"] for item in found.files}:
        raise Http404(_("This version has no such file."))
    try:
        file = default_storage.open(f"{found.path}/{name}")
    except FileNotFoundError:
        raise Http404(_("This file is no longer in the storage.")) from None
    return FileResponse(file, as_attachment=True, filename=PurePosixPath(name).name)
