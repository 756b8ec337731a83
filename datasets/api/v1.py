"""`/wenxinworkshop/dataset/…`: the calls of Qianfan's first dataset API that its SDK and trainer still make.

A `datasetId` here is the identifier of a version (ds-…). Our kinds of rows are said in its codes as far as it has
any; for the others that of conversations stands.
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from msgspec import Struct

from console.api.errors import conflict, invalid
from console.api.keys import Caller
from console.api.qianfan import Action
from console.deletion import NotDeletable
from console.models import Scope
from datasets import deletion, publishing
from datasets.api import bos, lookups
from datasets.models import DatasetVersion, RowType, VersionState

# Kind of rows: (projectType, templateType, dataType).
_CODES = {
    RowType.MESSAGES: (20, 2000, 4),
    RowType.RANKED: (20, 2001, 4),
    RowType.PREFERENCE: (20, 2002, 4),
    RowType.TEXT: (401, 40100, 4),
    RowType.IMAGE_CAPTION: (705, 70500, 7),
}
_BY_TEMPLATE = {codes[1]: row_type for row_type, codes in _CODES.items()}

# -1 none, 1 running, 2 done, 3 failed; at 0 the SDK gives up.
_IMPORT_STATUS = {VersionState.EMPTY: -1, VersionState.IMPORTING: 1, VersionState.FAILED: 3}
# 0 none, 1 running, 2 done, 3 failed.
_RELEASED, _NOT_RELEASED = 2, 0


class OneVersion(Struct, rename="camel"):
    dataset_id: str


class CreateV1(Struct, rename="camel"):
    name: str
    template_type: int = 2000
    storage_type: str = "sysBos"


class ManyVersions(Struct, rename="camel"):
    dataset_ids: list[str] | str


def _codes(version: DatasetVersion) -> tuple[int, int, int]:
    return _CODES.get(RowType(version.dataset.row_type), _CODES[RowType.MESSAGES])


def _storage(version: DatasetVersion) -> dict[str, str]:
    """Every key has to be there for the SDK; where the files lie is the console's own affair."""
    path = f"/datasets/{version.uid}"
    return {
        "storageId": version.dataset.uid,
        "storagePath": path,
        "rawStoragePath": path,
        "storageName": "console",
        "region": "",
    }


def create(caller: Caller, body: CreateV1) -> dict[str, Any]:
    if body.storage_type != "sysBos":
        raise invalid("Only storage of the platform is offered here.", "storageType")
    if body.template_type not in _BY_TEMPLATE:
        raise invalid("This templateType is not known here.", "templateType")
    version = create_dataset(caller, body.name, _BY_TEMPLATE[body.template_type])
    return {
        "id": version.pk,
        "datasetId": version.uid,
        "groupPK": version.dataset.uid,
        "versionId": version.number,
        "storageInfo": _storage(version),
    }


def create_dataset(caller: Caller, name: str, row_type: str) -> DatasetVersion:
    """A dataset with an empty V1. Raises Refused."""
    if not 2 <= len(name) <= 50:
        raise invalid("A name has 2 to 50 characters.", "name")
    try:
        with transaction.atomic():
            version = publishing.create_dataset(caller.workspace, caller.user, name)
    except IntegrityError as error:
        raise conflict(_("This workspace already has a dataset of that name."), "name") from error
    version.dataset.row_type = row_type
    version.dataset.save(update_fields=["row_type"])
    return version


def info(caller: Caller, body: OneVersion) -> dict[str, Any]:
    version = lookups.version(caller, body.dataset_id, "datasetId", own=False)
    return {
        "groupPK": version.dataset.uid,
        "name": version.dataset.name,
        "versionInfo": _version_info(version),
    }


def _version_info(version: DatasetVersion) -> dict[str, Any]:
    project, template, data = _codes(version)
    changed = version.published_at or version.import_heartbeat_at or version.created_at
    return {
        "datasetId": version.pk,
        "datasetPK": version.uid,
        "groupPK": version.dataset.uid,
        "versionId": version.number,
        "dataType": data,
        "projectType": project,
        "templateType": template,
        "storageType": "sysBos",
        "storage": _storage(version),
        "releaseStatus": _RELEASED if version.state == VersionState.PUBLISHED else _NOT_RELEASED,
        "releaseErrCode": 0,
        "importStatus": _IMPORT_STATUS.get(VersionState(version.state), 2),
        # An export is always ready (v1_content.py); the SDK asks for one while none is counted.
        "exportStatus": 2 if version.row_count else -1,
        "exportRecordCount": 0,
        "entityCount": version.row_count,
        "characterCount": version.character_count,
        "createTime": _time(version.created_at),
        "modifyTime": _time(changed),
    }


def _time(at: Any) -> str:
    return timezone.localtime(at).isoformat(timespec="seconds")


def release(caller: Caller, body: OneVersion) -> bool:
    publish(lookups.version(caller, body.dataset_id, "datasetId"))
    return True


def publish(version: DatasetVersion) -> None:
    """Publishes a version; one that is published already is no error. Raises Refused."""
    if version.state == VersionState.PUBLISHED:
        return
    try:
        publishing.publish(version)
    except publishing.NotAllowed as reason:
        raise conflict(str(reason), "datasetId") from reason


def status_list(caller: Caller, body: ManyVersions) -> list[dict[str, Any]]:
    uids = body.dataset_ids.split(",") if isinstance(body.dataset_ids, str) else body.dataset_ids
    versions = DatasetVersion.objects.select_related("dataset").filter(
        dataset__workspace=caller.workspace, uid__in=[uid.strip() for uid in uids]
    )
    return [_version_info(version) for version in versions]


def delete(caller: Caller, body: OneVersion) -> bool:
    version = lookups.version(caller, body.dataset_id, "datasetId")
    try:
        deletion.delete_version(version, caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "datasetId") from reason
    return True


class Import(Struct, rename="camel"):
    dataset_id: str
    files: list[str] = []
    import_from: int = 1


def import_files(caller: Caller, body: Import) -> bool:
    version = lookups.version(caller, body.dataset_id, "datasetId")
    if body.import_from != 1:
        raise invalid("Only files in BOS are imported: importFrom 1.", "importFrom")
    bos.start_import(caller, version, body.files)
    return True


ACTIONS = {
    "create": Action(create, CreateV1, Scope.WRITE, creates=True),
    "info": Action(info, OneVersion),
    "release": Action(release, OneVersion, Scope.WRITE),
    "statusList": Action(status_list, ManyVersions),
    "import": Action(import_files, Import, Scope.WRITE),
    "delete": Action(delete, OneVersion, Scope.ADMIN),
}
