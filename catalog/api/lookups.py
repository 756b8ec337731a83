"""What a caller may name: base models that are offered, and models of the key's workspace."""

from __future__ import annotations

from django.db.models import QuerySet

from catalog import queries
from catalog.models import BaseModel, Model, ModelVersion
from console.api.errors import invalid, not_found
from console.api.keys import Caller


def base_model(name: str, param: str = "model") -> BaseModel:
    """A base model that may be chosen; the SDK writes some names in other capitals. Raises Refused."""
    found = queries.base_model(name)
    if found is None:
        same = BaseModel.objects.filter(name__iexact=name).values_list("name", flat=True).first()
        found = queries.base_model(same) if same else None
    if found is None:
        raise invalid(f"The model {name!r} is not offered here.", param)
    return found


def models(caller: Caller) -> QuerySet[Model]:
    """The models of the workspace, their versions to be had without another query, newest first."""
    return Model.objects.filter(workspace=caller.workspace).prefetch_related("versions")


def model(caller: Caller, uid: str, param: str = "modelSetId") -> Model:
    """Raises Refused."""
    found = models(caller).filter(uid=uid).first()
    if found is None:
        raise not_found(f"There is no model {uid!r} in this workspace.", param)
    return found


def model_versions(caller: Caller) -> QuerySet[ModelVersion]:
    """The versions of all models of the workspace, each with the run that it came from."""
    versions = ModelVersion.objects.filter(model__workspace=caller.workspace)
    return versions.select_related("model__workspace", "base_model", "run__job", "created_by")


def model_version(caller: Caller, uid: str, param: str = "modelId") -> ModelVersion:
    """Raises Refused."""
    found = model_versions(caller).filter(uid=uid).first()
    if found is None:
        raise not_found(f"There is no model version {uid!r} in this workspace.", param)
    return found
