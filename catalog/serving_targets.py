"""What can be talked to: base models, published versions, checkpoints of runs. Looked up through the workspace.

Checkpoints are those of `jobs`, to which this module looks back, as the pages of models do.
"""

from __future__ import annotations

from dataclasses import dataclass

from catalog import queries
from catalog.models import BaseModel, ModelType, ModelVersion, ServingEndpoint
from catalog.models.registry import ModelVersionState
from console.models import Workspace
from jobs.models import Run


@dataclass(frozen=True)
class Target:
    """One model. Of a published version `version` is given, of a checkpoint `run` and `step`."""

    base_model: BaseModel
    version: ModelVersion | None = None
    run: Run | None = None
    step: int | None = None

    @property
    def kind(self) -> str:
        """What trains and loads it: text2text, text2image or imageUnderstanding."""
        return self.base_model.family.model_type

    @property
    def draws(self) -> bool:
        return self.kind == ModelType.TEXT_TO_IMAGE

    @property
    def sees(self) -> bool:
        return self.kind == ModelType.IMAGE_UNDERSTANDING

    @property
    def is_base(self) -> bool:
        return self.version is None and self.run is None

    @property
    def name(self) -> str:
        """As the API names it."""
        if self.version is not None:
            return f"ft:{self.base_model.name}:{self.version.model.name}:{self.version.uid}"
        if self.run is not None:
            return f"ft:{self.base_model.name}:{self.run.uid}:ckpt-step-{self.step}"
        return self.base_model.name

    @property
    def base(self) -> Target:
        return Target(self.base_model)

    def endpoint(self) -> ServingEndpoint | None:
        """The server that answers for it, if an operator has registered one."""
        if self.run is not None:
            return None
        found = ServingEndpoint.objects.filter(enabled=True)
        if self.version is not None:
            return found.filter(model_version=self.version).first()
        return found.filter(base_model=self.base_model).first()

    def as_reference(self) -> dict[str, str | int]:
        """What the process that serves models needs to find it again (`find_reference`)."""
        if self.version is not None:
            return {"version": self.version.uid}
        if self.run is not None and self.step is not None:
            return {"run": self.run.uid, "step": self.step}
        return {"base_model": self.base_model.name}


def find(workspace: Workspace, name: str) -> Target | None:
    """The target that the API names so: a base model, ft:…:amv-…, amv-…, or ft:…:task-…:ckpt-step-N."""
    if base := queries.base_model(name):
        return Target(base)
    *before, last = name.split(":")
    if last.startswith("ckpt-step-") and before:
        return find_checkpoint(workspace, before[-1], last.removeprefix("ckpt-step-"))
    return find_version(workspace, last)


def find_version(workspace: Workspace | None, uid: str) -> Target | None:
    versions = ModelVersion.objects.filter(uid=uid, state=ModelVersionState.READY)
    if workspace is not None:
        versions = versions.filter(model__workspace=workspace)
    found = versions.select_related("model__workspace", "base_model__family", "run__base_run").first()
    return Target(found.base_model, version=found) if found else None


def find_checkpoint(workspace: Workspace | None, uid: str, step: str) -> Target | None:
    """A checkpoint that is a whole model or adapter; those of text-to-image runs hold a part of the pipeline only."""
    if not (step.isascii() and step.isdecimal() and len(step) < 18):
        return None
    runs = Run.objects.filter(uid=uid, checkpoints__step=int(step))
    runs = runs.exclude(job__model_type=ModelType.TEXT_TO_IMAGE)
    if workspace is not None:
        runs = runs.filter(job__workspace=workspace)
    run = runs.select_related("job__workspace", "base_model__family", "base_run").first()
    return Target(run.base_model, run=run, step=int(step)) if run else None


def find_reference(reference: dict[str, str | int]) -> Target | None:
    """Whatever `as_reference` has named; who may see it was asked before."""
    if "version" in reference:
        return find_version(None, str(reference["version"]))
    if "run" in reference:
        return find_checkpoint(None, str(reference["run"]), str(reference["step"]))
    base = BaseModel.objects.select_related("family").filter(name=reference.get("base_model")).first()
    return Target(base) if base else None
