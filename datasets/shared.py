"""预置数据集 and 通用语料 that come with the console, made from datasets/samples/ (`manage.py make_shared`).

They lie in a workspace of their own without members: nobody sees its datasets, everybody may train on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction

from console.models import Workspace
from datasets import publishing
from datasets.imports import run_import
from datasets.models import Dataset, DatasetVersion, SharedData, SharedKind, SourceFile, VersionState

SAMPLES = Path(__file__).parent / "samples"
WORKSPACE = "共享数据 / Shared data"


@dataclass(frozen=True)
class Bundled:
    """One file of datasets/samples/ and what people call it."""

    file: str
    kind: SharedKind
    name_zh: str
    name_en: str


BUNDLED = (
    Bundled("corpus.jsonl", SharedKind.CORPUS, "通用语料", "General corpus"),
    Bundled("assistant.jsonl", SharedKind.PRESET, "示例对话", "Sample conversations"),
)


class SharedDataError(Exception):
    """A bundled file could not be imported; the text says which and why."""


def make_shared() -> list[SharedData]:
    """Imports, publishes and offers what is missing; returns what is offered for the first time.

    Repeatable after a kill at any point. What an operator has changed or disabled stays so. Raises
    SharedDataError.
    """
    made = []
    for bundled in BUNDLED:
        version = _version(bundled)
        if version.state == VersionState.IMPORTING:
            run_import(version.pk)  # False where a worker has it already
            version.refresh_from_db()
        if version.state == VersionState.DRAFT:
            publishing.publish(version)
            version.refresh_from_db()
        if version.state != VersionState.PUBLISHED:
            raise SharedDataError(f"{bundled.file}: {version.get_state_display()} ({version.uid})")
        shared, new = SharedData.objects.get_or_create(
            version=version,
            defaults={"kind": bundled.kind, "name_zh": bundled.name_zh, "name_en": bundled.name_en},
        )
        made += [shared] if new else []
    return made


def _version(bundled: Bundled) -> DatasetVersion:
    """The version that holds a bundled file, waiting for its import where it is new."""
    with transaction.atomic():
        workspace = _workspace()
        name = f"{bundled.name_zh} / {bundled.name_en}"
        dataset, _new = Dataset.objects.get_or_create(workspace=workspace, name=name)
        version = dataset.versions.order_by("number").first()
        if version is not None:
            return version
        version = DatasetVersion.objects.create(dataset=dataset, number=1)
        with (SAMPLES / bundled.file).open("rb") as file:
            path = default_storage.save(f"datasets/{version.uid}/source/{bundled.file}", File(file))
        version.size = (SAMPLES / bundled.file).stat().st_size
        SourceFile.objects.create(version=version, name=bundled.file, path=path, size=version.size)
        version.state = VersionState.IMPORTING
        version.save(update_fields=["size", "state"])
    return version


def _workspace() -> Workspace:
    found = Workspace.objects.filter(name=WORKSPACE, memberships=None).first()
    return found or Workspace.objects.create(name=WORKSPACE)
