"""Published models as Qianfan's model APIs describe them: a set (am-…) is our model, a model (amv-…) its version.

`/v2/model` has the actions at the end of this file; `/wenxinworkshop/modelrepo/…` describes the same in its own
words. What takes a training run, jobs/api/models.py adds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone
from msgspec import Struct

from catalog import deletion
from catalog.api import lookups
from catalog.models import Model, ModelType, ModelVersion
from console.api.errors import conflict, invalid, not_found
from console.api.keys import Caller
from console.api.qianfan import Action, Page, page
from console.deletion import NotDeletable
from console.models import Scope

_TYPES = {
    ModelType.TEXT_TO_TEXT: "Text2Text",
    ModelType.TEXT_TO_IMAGE: "Text2Image",
    ModelType.IMAGE_UNDERSTANDING: "ImageUnderstanding",
}
_APPLICATIONS = {ModelType.TEXT_TO_IMAGE: "Text-to-Image", ModelType.IMAGE_UNDERSTANDING: "Image-to-Text"}


class CreateSet(Struct, rename="camel"):
    model_set_name: str
    model_type: str


class OneSet(Struct, rename="camel"):
    model_set_id: str = ""
    model_set_name: str = ""


class OneModel(Struct, rename="camel"):
    model_id: str


class OneVersionV1(Struct, rename="camel"):
    model_version_id: str | int


class OneModelV1(Struct, rename="camel"):
    model_id: str | int


def _time(at: datetime) -> str:
    return timezone.localtime(at).isoformat(timespec="seconds")


def _changed(model: Model) -> datetime:
    return max([version.created_at for version in model.versions.all()], default=model.created_at)


# --- V2 ------------------------------------------------------------------------------------------------------


def describe_set(model: Model) -> dict[str, Any]:
    """Its versions, newest first: the SDK takes the first one for the one that it has just published."""
    versions = list(model.versions.all())
    return {
        "modelSetId": model.uid,
        "modelSetName": model.name,
        "modelType": _TYPES[ModelType(model.model_type)],
        "source": "UserCreate",
        "labels": [],
        "createTime": _time(model.created_at),
        "modifyTime": _time(_changed(model)),
        "modelCount": len(versions),
        "modelIds": [version.uid for version in versions],
        "modelNames": [version.label for version in versions],
    }


def create_set(caller: Caller, body: CreateSet) -> str:
    """A model without versions yet; CreateCustomModel and the pages of runs publish to it."""
    kind = next((kind for kind, name in _TYPES.items() if name == body.model_type), None)
    if kind is None:
        raise invalid(f"modelType must be one of {', '.join(_TYPES.values())}.", "modelType")
    model = Model(workspace=caller.workspace, name=body.model_set_name, model_type=kind)
    try:
        model.full_clean()
    except ValidationError as error:
        raise invalid(" ".join(error.messages), "modelSetName") from error
    model.save()
    return model.uid


def describe_set_action(caller: Caller, body: OneSet) -> dict[str, Any]:
    if bool(body.model_set_id) == bool(body.model_set_name):
        raise invalid("Name modelSetId or modelSetName, not both.", "modelSetId")
    if body.model_set_id:
        return describe_set(lookups.model(caller, body.model_set_id))
    found = lookups.models(caller).filter(name=body.model_set_name).first()
    if found is None:
        message = f"There is no model named {body.model_set_name!r} in this workspace"
        raise not_found(f"{message}.", "modelSetName")
    return describe_set(found)


def list_custom_sets(caller: Caller, body: Page) -> dict[str, Any]:
    models, info = page(lookups.models(caller), body)
    return {"customModelSetList": [describe_set(model) for model in models], "pageInfo": info}


def list_system_sets(caller: Caller, body: Page) -> dict[str, Any]:
    """None: what can be trained says DescribeFineTuningSupportModels."""
    info = {"marker": body.marker, "maxKeys": body.max_keys, "isTruncated": False}
    return {"systemModelSetList": [], "pageInfo": info}


def describe_model(caller: Caller, body: OneModel) -> dict[str, Any]:
    version = lookups.model_version(caller, body.model_id)
    run = getattr(version, "run", None)
    return {
        "modelSetId": version.model.uid,
        "modelId": version.uid,
        "modelName": version.model.name,
        "modelVersionName": version.label,
        "status": version.state,
        "model": version.base_model.name,
        "sourceInfo": {
            "sourceType": "Train",
            "trainJobId": run.job.uid if run else "",
            "trainTaskId": run.uid if run else "",
            "checkpointStep": run.step if run else None,
        },
        "createTime": _time(version.created_at),
        "modifyTime": _time(version.created_at),
        "modelApplicationType": _APPLICATIONS.get(ModelType(version.model.model_type), "chat"),
        "isSupportModelComp": False,
    }


def delete_set(caller: Caller, body: OneSet) -> bool:
    try:
        deletion.delete_model(lookups.model(caller, body.model_set_id), caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "modelSetId") from reason
    return True


def delete_model(caller: Caller, body: OneModel) -> bool:
    try:
        deletion.delete_version(lookups.model_version(caller, body.model_id), caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "modelId") from reason
    return True


ACTIONS = {
    "CreateCustomModelSet": Action(create_set, CreateSet, Scope.WRITE, creates=True),
    "DescribeModelSet": Action(describe_set_action, OneSet),
    "DescribeCustomModelSets": Action(list_custom_sets, Page),
    "DescribeSystemModelSets": Action(list_system_sets, Page),
    "DescribeModel": Action(describe_model, OneModel),
    "DeleteModelSet": Action(delete_set, OneSet, Scope.ADMIN),
    "DeleteModel": Action(delete_model, OneModel, Scope.ADMIN),
}

# --- V1 ------------------------------------------------------------------------------------------------------


def _uid_of(kind: Any, given: str | int) -> str:
    """V1 also takes the number of an object for its identifier."""
    text = str(given)
    if text.isascii() and text.isdecimal() and len(text) < 18:
        return kind.filter(pk=int(text)).values_list("uid", flat=True).first() or text
    return text


def find_model(caller: Caller, given: str | int) -> Model:
    return lookups.model(caller, _uid_of(lookups.models(caller), given), "modelId")


def version_v1(version: ModelVersion) -> dict[str, Any]:
    """One version; `sourceExtra` names the run, as the SDK's Model reads it."""
    run = getattr(version, "run", None)
    train = {"taskId": run.uid, "runId": run.job.uid, "taskName": run.job.name} if run else {}
    return {
        "modelId": version.model_id,
        "modelIdStr": version.model.uid,
        "modelName": version.model.name,
        "modelVersionId": version.pk,
        "modelVersionIdStr": version.uid,
        "version": str(version.number),
        "description": "",
        "sourceType": "Train",
        "sourceExtra": {"trainSourceExtra": train},
        "framework": "Pytorch",
        "modelNet": version.base_model.name,
        "trainType": version.base_model.name,
        "state": version.state,
        "ioMode": "chat",
        "property": {},
        "params": {},
        "createTime": _time(version.created_at),
        "modifyTime": _time(version.created_at),
    }


def version_detail(caller: Caller, body: OneVersionV1) -> dict[str, Any]:
    uid = _uid_of(lookups.model_versions(caller), body.model_version_id)
    return version_v1(lookups.model_version(caller, uid, "modelVersionId"))


def model_detail(caller: Caller, body: OneModelV1) -> dict[str, Any]:
    model = find_model(caller, body.model_id)
    versions = lookups.model_versions(caller).filter(model=model)
    return {
        "modelId": model.pk,
        "modelIdStr": model.uid,
        "modelName": model.name,
        "source": "UserCreate",
        "modelType": 0,
        "createTime": _time(model.created_at),
        "modifyTime": _time(_changed(model)),
        "modelVersionList": [version_v1(version) for version in versions],
    }


V1_ACTIONS = {
    "modelVersionDetail": Action(version_detail, OneVersionV1),
    "modelDetail": Action(model_detail, OneModelV1),
}
