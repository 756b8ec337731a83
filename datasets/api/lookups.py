"""What a caller may name: datasets of the key's workspace, and versions that the operator offers to all."""

from __future__ import annotations

from django.db.models import QuerySet

from console.api.errors import not_found
from console.api.keys import Caller
from datasets.models import Dataset, DatasetVersion


def datasets(caller: Caller) -> QuerySet[Dataset]:
    return Dataset.objects.filter(workspace=caller.workspace).select_related("created_by")


def dataset(caller: Caller, uid: str, param: str = "datasetId") -> Dataset:
    """Raises Refused."""
    found = datasets(caller).filter(uid=uid).first()
    if found is None:
        raise not_found(f"There is no dataset {uid!r} in this workspace.", param)
    return found


def version(caller: Caller, uid: str, param: str = "versionId", *, own: bool = True) -> DatasetVersion:
    """A version of the workspace, or (not `own`) one that is offered to all. Raises Refused."""
    versions = DatasetVersion.objects.select_related("dataset__workspace", "created_by").filter(uid=uid)
    found = versions.filter(dataset__workspace=caller.workspace).first()
    if found is None and not own:
        found = versions.filter(shared__enabled=True).first()
    if found is None:
        raise not_found(f"There is no dataset version {uid!r} in this workspace.", param)
    return found
