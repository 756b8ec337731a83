"""OpenAI's `models`: base models by their names, and the published versions of models.

A version is named ft:<base model>:<model>:<identifier>; its identifier alone (amv-…) is understood as well.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef
from django.http import HttpRequest

from catalog import deletion, queries
from catalog.api import lookups
from catalog.models import BaseModel, ModelVersion, Offer
from catalog.models.registry import ModelVersionState
from console.api.errors import conflict, forbidden, not_found
from console.api.keys import Caller
from console.api.openai import Endpoint, listed
from console.deletion import NotDeletable
from console.models import Scope

MOST_LISTED = 1000


def model_id(version: ModelVersion) -> str:
    return f"ft:{version.base_model.name}:{version.model.name}:{version.uid}"


def find_version(caller: Caller, given: str) -> ModelVersion | None:
    uid = given.rsplit(":", 1)[-1]
    return lookups.model_versions(caller).filter(uid=uid, state=ModelVersionState.READY).first()


def _describe_base(model: BaseModel) -> dict[str, Any]:
    # Nobody keeps when it was loaded; clients sort by the number and show no more of it.
    return {"id": model.name, "object": "model", "created": 0, "owned_by": model.family.name}


def _describe_version(version: ModelVersion) -> dict[str, Any]:
    return {
        "id": model_id(version),
        "object": "model",
        "created": int(version.created_at.timestamp()),
        "owned_by": version.model.workspace.name,
        "parent": version.base_model.name,
    }


def list_models(caller: Caller, request: HttpRequest) -> dict[str, Any]:
    """Base models that can be trained, then what was published, newest first."""
    offered = Exists(Offer.objects.filter(base_model=OuterRef("pk"), enabled=True))
    bases = BaseModel.objects.filter(offered, enabled=True).select_related("family")
    bases = bases.only("name", "family__name")
    versions = ModelVersion.objects.filter(model__workspace=caller.workspace, state=ModelVersionState.READY)
    versions = versions.select_related("model__workspace", "base_model").order_by("-pk")
    versions = versions.only(
        "uid", "created_at", "model__name", "model__workspace__name", "base_model__name"
    )[:MOST_LISTED]
    return listed([*map(_describe_base, bases), *map(_describe_version, versions)])


def retrieve(caller: Caller, request: HttpRequest, model: str) -> dict[str, Any]:
    if base := queries.base_model(model):
        return _describe_base(base)
    return _describe_version(_version(caller, model))


def delete(caller: Caller, request: HttpRequest, model: str) -> dict[str, Any]:
    if queries.base_model(model):
        raise forbidden("Base models belong to the operator and cannot be deleted here.")
    version = _version(caller, model)
    try:
        deletion.delete_version(version, caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "model") from reason
    return {"id": model, "object": "model", "deleted": True}


def _version(caller: Caller, given: str) -> ModelVersion:
    found = find_version(caller, given)
    if found is None:
        refusal = not_found(f"The model {given!r} does not exist in this workspace.", "model")
        refusal.code = "model_not_found"
        raise refusal
    return found


MODELS = {"get": Endpoint(list_models)}
ONE_MODEL = {"get": Endpoint(retrieve), "delete": Endpoint(delete, Scope.ADMIN)}
