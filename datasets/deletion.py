"""Deleting datasets and versions: rows at once, files afterwards (console/deletion.py)."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.db.models import ProtectedError, Sum
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.deletion import NotDeletable, record
from console.models import User
from datasets.lineage import lineage_of
from datasets.models import Dataset, DatasetVersion, VersionState


@dataclass(frozen=True)
class Loss:
    """What goes with a dataset: versions, rows, bytes of the files that were uploaded."""

    versions: int
    rows: int
    size: int


def loss_of(dataset: Dataset) -> Loss:
    """What deleting a dataset would remove."""
    sums = dataset.versions.aggregate(rows=Sum("row_count", default=0), size=Sum("size", default=0))
    return Loss(dataset.versions.count(), sums["rows"], sums["size"])


def obstacles_of(dataset: Dataset, user: User) -> list[tuple[DatasetVersion, list[str]]]:
    """The versions that something still needs, with what needs them, as far as the user may see it."""
    versions = dataset.versions.select_related("dataset", "shared").defer("problems")
    found = [(version, lineage_of(version, user).obstacles) for version in versions]
    return [(version, obstacles) for version, obstacles in found if obstacles]


def delete_version(version: DatasetVersion, user: User) -> None:
    """Deletes a version; raises NotDeletable. One that is gone already is no error."""
    with transaction.atomic():
        # The dataset's row orders this against others, and against new versions.
        dataset = Dataset.objects.select_for_update().filter(pk=version.dataset_id).first()
        found = DatasetVersion.objects.select_for_update().filter(pk=version.pk).first()
        if dataset is not None and found is not None:
            found.dataset = dataset
            _delete(found, user)


def delete_dataset(dataset: Dataset, user: User) -> None:
    """Deletes a dataset with all of its versions, or nothing; raises NotDeletable."""
    with transaction.atomic():
        locked = Dataset.objects.select_for_update().filter(pk=dataset.pk).first()
        if locked is None:
            return
        for version in locked.versions.select_for_update():
            version.dataset = locked
            _delete(version, user)
        record(locked.workspace, user, "dataset", locked.uid, locked.name)
        locked.delete()


def _delete(version: DatasetVersion, user: User) -> None:
    if version.state == VersionState.IMPORTING:
        raise NotDeletable(
            _("Files are being imported into %(version)s. Wait until that has ended.") % {"version": version}
        )
    data = {"rows": version.row_count, "content_hash": version.content_hash, "format": version.format}
    record(
        version.dataset.workspace,
        user,
        "dataset version",
        version.uid,
        str(version),
        data=data,
        folders=[f"datasets/{version.uid}"],
    )
    try:
        version.delete()
    except ProtectedError as error:
        count = len(error.protected_objects)
        text = ngettext(
            "%(version)s is still used in %(count)d place: by a run, or because everybody is offered it.",
            "%(version)s is still used in %(count)d places: by runs, or because everybody is offered it.",
            count,
        )
        raise NotDeletable(text % {"version": version, "count": count}) from error
