"""Publishing a finished run through Qianfan's APIs: `publishTrainModel` (V1) and `CreateCustomModel` (V2)."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from catalog.api import lookups as registry
from catalog.api import models
from catalog.models import ModelVersion
from catalog.models.registry import Model
from console.api.errors import conflict, invalid
from console.api.keys import Caller
from console.api.qianfan import Action
from console.models import Scope
from jobs import publishing
from jobs.api import lookups
from jobs.models import Run


class VersionMeta(Struct, rename="camel"):
    """In V1 a task is our job, and an iteration our run."""

    iteration_id: str
    task_id: str = ""
    step: int | None = None


class Publish(Struct, rename="camel"):
    version_meta: VersionMeta
    is_new_model: bool = True
    model_name: str = ""
    model_id: str | int | None = None


class TrainMeta(Struct, rename="camel"):
    """`step` is what Qianfan's own example calls `checkpoint_step`."""

    task_id: str
    checkpoint_step: int | None = None
    step: int | None = None


class CreateModel(Struct, rename="camel"):
    model_set_id: str
    source_type: str = "Train"
    train_meta: TrainMeta | None = None


def publish_train_model(caller: Caller, body: Publish) -> dict[str, Any]:
    run = lookups.run(caller, body.version_meta.iteration_id, "versionMeta.iterationId")
    model = None
    if not body.is_new_model:
        if body.model_id is None:
            raise invalid("Name the model that gets the version.", "modelId")
        model = models.find_model(caller, body.model_id)
    version = _publish(caller, run, body.version_meta.step, body.model_name, model)
    return {
        "modelIDStr": version.model.uid,
        "modelId": version.model_id,
        "version": str(version.number),
        "versionId": version.pk,
        "versionIdStr": version.uid,
    }


def create_custom_model(caller: Caller, body: CreateModel) -> dict[str, Any]:
    if body.source_type != "Train" or body.train_meta is None:
        raise invalid("Models come from training here.", "sourceType")
    run = lookups.run(caller, body.train_meta.task_id, "trainMeta.taskId")
    model = registry.model(caller, body.model_set_id)
    step = body.train_meta.checkpoint_step or body.train_meta.step
    version = _publish(caller, run, step, "", model)
    return {"modelSetId": model.uid, "modelId": version.uid}


def _publish(caller: Caller, run: Run, step: int | None, name: str, model: Model | None) -> ModelVersion:
    if step is not None and step != run.step:
        message = f"Only the result of a run is published: its last step, {run.step}."
        raise invalid(message, "step")
    try:
        return publishing.request(run, caller.user, name, model)
    except publishing.PublicationRefused as refused:
        if refused.field == "run":
            raise conflict(str(refused)) from refused
        raise invalid(str(refused), "modelName") from refused


V1_ACTIONS = {"publishTrainModel": Action(publish_train_model, Publish, Scope.WRITE, creates=True)}
V2_ACTIONS = {"CreateCustomModel": Action(create_custom_model, CreateModel, Scope.WRITE, creates=True)}
