"""Deleting published models and versions: rows at once, files afterwards (console/deletion.py)."""

from __future__ import annotations

from django.db import transaction
from django.utils.translation import gettext as _

from catalog.models.registry import Model, ModelVersion, ModelVersionState
from console.deletion import NotDeletable, record
from console.models import User


def delete_version(version: ModelVersion, user: User) -> None:
    """Deletes a version, and the model with its last one; raises NotDeletable. Gone already is no error."""
    with transaction.atomic():
        model = Model.objects.select_for_update().filter(pk=version.model_id).first()
        found = ModelVersion.objects.select_for_update().filter(pk=version.pk).first()
        if model is None or found is None:
            return
        found.model = model
        _delete(found, user)
        if not model.versions.exists():
            record(model.workspace, user, "model", model.uid, model.name)
            model.delete()


def delete_model(model: Model, user: User) -> None:
    """Deletes a model with all of its versions, or nothing; raises NotDeletable."""
    with transaction.atomic():
        locked = Model.objects.select_for_update().filter(pk=model.pk).first()
        if locked is None:
            return
        for version in locked.versions.select_for_update():
            version.model = locked
            _delete(version, user)
        record(locked.workspace, user, "model", locked.uid, locked.name)
        locked.delete()


def _delete(version: ModelVersion, user: User) -> None:
    if version.state == ModelVersionState.CREATING:
        raise NotDeletable(
            _("%(version)s is being published. Wait until that is done.") % {"version": version}
        )
    data = {"base_model": version.base_model.name, "method": version.method, "files": version.files}
    record(
        version.model.workspace,
        user,
        "model version",
        version.uid,
        str(version),
        data=data,
        folders=[f"models/{version.uid}"],
    )
    version.delete()
