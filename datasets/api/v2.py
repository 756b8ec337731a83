"""`/v2/dataset`: datasets (dg-…) and their versions (ds-…) as Qianfan's second dataset API has them.

Where its documentation shows no answer, the names are ours: `datasetList` and `versionList`, `importStatus` and
`publishStatus`.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from msgspec import Struct

from console.api.errors import conflict, invalid
from console.api.keys import Caller
from console.api.qianfan import Action, Page, page
from console.deletion import NotDeletable
from console.models import Scope
from datasets import deletion, publishing
from datasets.api import bos, lookups
from datasets.api.v1 import create_dataset
from datasets.api.v1 import publish as publish_or_refuse
from datasets.models import Dataset, DatasetVersion, RowType, VersionState

# dataFormat -> kind of rows; the first one of a kind is what a dataset of it is said to be.
FORMATS = {
    "Role": RowType.MESSAGES,
    "PromptResponse": RowType.MESSAGES,
    "DPO_PromptChosenRejected": RowType.PREFERENCE,
    "KTO_PromptChosenRejected": RowType.BINARY_PREFERENCE,
    "PromptSortedresponses": RowType.RANKED,
    "Text": RowType.TEXT,
    "PromptImage": RowType.IMAGE_CAPTION,
    "PromptImageResponse": RowType.IMAGE_MESSAGES,
}
_IMPORT_STATUS = {
    VersionState.EMPTY: "Created",
    VersionState.IMPORTING: "Importing",
    VersionState.FAILED: "ImportFailed",
}


class Create(Struct, rename="camel"):
    dataset_name: str
    data_format: str
    storage_type: str = "sysStorage"


class OneDataset(Struct, rename="camel"):
    dataset_id: str
    description: str | None = None


class Filter(Struct, rename="camel"):
    import_status_list: list[str] = []
    publish_status_list: list[str] = []


class ListDatasets(Page):
    pass


class ListVersions(Page, kw_only=True):
    dataset_id: str
    filter: Filter | None = None


class OneVersion(Struct, rename="camel"):
    version_id: str


class Import(Struct, rename="camel"):
    version_id: str
    files: list[str]


class OneImport(Struct, rename="camel"):
    task_id: str


def _format(row_type: str) -> str:
    return next(name for name, kind in FORMATS.items() if kind == row_type)


def _time(at: Any) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S")


def _import_status(version: DatasetVersion) -> str:
    return _IMPORT_STATUS.get(VersionState(version.state), "ImportFinished")


def describe(version: DatasetVersion) -> dict[str, Any]:
    dataset = version.dataset
    return {
        "datasetId": dataset.uid,
        "versionId": version.uid,
        "versionNumber": version.number,
        "datasetName": dataset.name,
        "description": dataset.description,
        "dataFormat": _format(dataset.row_type),
        "storageType": "sysStorage",
        "storagePath": "",
        "importStatus": _import_status(version),
        "publishStatus": "Published" if version.state == VersionState.PUBLISHED else "Unpublished",
        "sampleCount": version.row_count,
        "characterCount": version.character_count,
        "creator": str(version.created_by or ""),
        "createTime": _time(version.created_at),
    }


def create(caller: Caller, body: Create) -> dict[str, Any]:
    if body.storage_type == "BOS":
        raise invalid("Only storage of the platform is offered here.", "storageType")
    if body.data_format not in FORMATS:
        known = ", ".join(FORMATS)
        raise invalid(f"dataFormat must be one of {known}.", "dataFormat")
    return describe(create_dataset(caller, body.dataset_name, FORMATS[body.data_format]))


def create_version(caller: Caller, body: OneDataset) -> dict[str, Any]:
    dataset = lookups.dataset(caller, body.dataset_id)
    version = publishing.new_version(dataset, caller.user)
    return describe(version)


def list_datasets(caller: Caller, body: ListDatasets) -> dict[str, Any]:
    found, info = page(lookups.datasets(caller), body)
    newest = DatasetVersion.objects.filter(dataset__in=found).order_by("dataset_id", "-number")
    newest = newest.distinct("dataset_id").select_related("created_by").defer("problems")
    versions = {version.dataset_id: version for version in newest}
    return {"datasetList": [_in_list(item, versions.get(item.pk)) for item in found], "pageInfo": info}


def _in_list(dataset: Dataset, newest: DatasetVersion | None) -> dict[str, Any]:
    """A dataset with its newest version."""
    if newest is not None:
        newest.dataset = dataset
        return describe(newest)
    return {
        "datasetId": dataset.uid,
        "datasetName": dataset.name,
        "description": dataset.description,
        "dataFormat": _format(dataset.row_type),
        "createTime": _time(dataset.created_at),
    }


def list_versions(caller: Caller, body: ListVersions) -> dict[str, Any]:
    dataset = lookups.dataset(caller, body.dataset_id)
    versions = dataset.versions.select_related("dataset", "created_by").defer("problems")
    found, info = page(_filtered(versions, body.filter or Filter()), body)
    return {"versionList": [describe(version) for version in found], "pageInfo": info}


def _filtered(versions: QuerySet[DatasetVersion], asked: Filter) -> QuerySet[DatasetVersion]:
    if asked.import_status_list:
        states = [
            state
            for state in VersionState
            if _IMPORT_STATUS.get(state, "ImportFinished") in asked.import_status_list
        ]
        versions = versions.filter(state__in=states)
    if asked.publish_status_list and not {"Published", "Unpublished"} <= set(asked.publish_status_list):
        published = versions.filter(state=VersionState.PUBLISHED)
        is_published = "Published" in asked.publish_status_list
        versions = published if is_published else versions.exclude(state=VersionState.PUBLISHED)
    return versions


def describe_version(caller: Caller, body: OneVersion) -> dict[str, Any]:
    return describe(lookups.version(caller, body.version_id, own=False))


def publish_version(caller: Caller, body: OneVersion) -> bool:
    publish_or_refuse(lookups.version(caller, body.version_id))
    return True


def create_import(caller: Caller, body: Import) -> str:
    """The task is named like the version: see describe_import."""
    version = lookups.version(caller, body.version_id)
    bos.start_import(caller, version, body.files)
    return version.uid


def describe_import(caller: Caller, body: OneImport) -> dict[str, Any]:
    """The one import that a version has: its task is named like the version."""
    version = lookups.version(caller, body.task_id, "taskId")
    is_failed = version.state == VersionState.FAILED
    progress = version.progress * 100 // version.size if version.size else 0
    if version.state in (VersionState.DRAFT, VersionState.PUBLISHED):
        progress = 100
    return {
        "versionId": version.uid,
        "importStatus": _import_status(version),
        "progress": "0" if is_failed else f"{progress}%",
        "sizeMB": round(version.size / 1024**2, 2),
        "sampleCount": version.row_count,
        "creator": str(version.created_by or ""),
        "startTime": _time(version.created_at),
        "finishTime": _time(version.import_heartbeat_at) if version.import_heartbeat_at else "",
        "errDownloadUrl": "",
    }


def delete_version(caller: Caller, body: OneVersion) -> bool:
    try:
        deletion.delete_version(lookups.version(caller, body.version_id), caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "versionId") from reason
    return True


def delete_dataset(caller: Caller, body: OneDataset) -> bool:
    try:
        deletion.delete_dataset(lookups.dataset(caller, body.dataset_id), caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "datasetId") from reason
    return True


ACTIONS = {
    "CreateDataset": Action(create, Create, Scope.WRITE, creates=True),
    "CreateDatasetVersion": Action(create_version, OneDataset, Scope.WRITE, creates=True),
    "DescribeDatasets": Action(list_datasets, ListDatasets),
    "DescribeDatasetVersions": Action(list_versions, ListVersions),
    "DescribeDatasetVersion": Action(describe_version, OneVersion),
    "PublishDatasetVersion": Action(publish_version, OneVersion, Scope.WRITE),
    "CreateImportTask": Action(create_import, Import, Scope.WRITE),
    "DescribeImportTask": Action(describe_import, OneImport),
    "DeleteDataset": Action(delete_dataset, OneDataset, Scope.ADMIN),
    "DeleteDatasetVersion": Action(delete_version, OneVersion, Scope.ADMIN),
}
