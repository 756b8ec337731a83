"""自动发布: from the output of a finished run to a version in 我的模型.

Seed, section 发布模型: a failed run is not published; nor is one whose model was deleted meanwhile or whose
model name has been taken meanwhile. Every step can be repeated, so a kill at any point only delays it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import DatabaseError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from filelock import FileLock, Timeout

from catalog.models import Model, ModelVersion
from catalog.models.registry import ModelVersionState
from console.afterwards import after_commit
from console.deletion import remove_folder
from console.disks import is_full
from console.models import User
from jobs import directories, launch, lifecycle, merging, notifying, queueing
from jobs.models import Publication, Run, RunState
from jobs.training import card
from jobs.training.card import ADAPTERS, MERGED

LOCK_NAME = "publishing.lock"
# A storage that was full or away is tried again so much later.
AGAIN_AFTER = timedelta(minutes=1)
ERROR_LENGTH = 200


class NotPublishable(Exception):
    """Why a finished run does not become a model version; `code` is translated by jobs/messages.py."""

    def __init__(self, code: str, **params: Any) -> None:
        super().__init__(code)
        self.code, self.params = code, params


class PublicationRefused(Exception):
    """A run that may not be published as asked; the text says why, for the user, `field` what is to blame."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


def request(run: Run, user: User, name: str, model: Model | None = None) -> ModelVersion:
    """Publishes a finished run as a new model of that name, or as the next version of `model`.

    The version is there at once, and ready once a worker has copied the weights. Raises PublicationRefused.
    """
    from jobs.tasks import run_training

    with transaction.atomic():
        current = Run.objects.select_for_update(of=("self",)).select_related("job__workspace").get(pk=run.pk)
        _require_publishable(current, name, model)
        current.publication = Publication.PENDING
        current.publication_note = None
        current.publish_name = model.name if model else name
        current.publish_as_new, current.publish_model = model is None, model
        current.save()
        lifecycle.note(current, "publish_requested", actor=user, model=current.publish_name)
        version = _reserve_version(current.pk)
        if version is None:
            raise PublicationRefused(_("This run cannot be published now."), "run")
        # A worker that is away loses nothing: `dispatch` finds the run.
        after_commit(run_training.apply_async, queue=queueing.queue_of(current))
    return version


def _require_publishable(run: Run, name: str, model: Model | None) -> None:
    if run.state != RunState.DONE:
        raise PublicationRefused(_("Only a run that is done can be published."), "run")
    if run.model_version is not None:
        message = _("%(run)s is published already, as %(version)s.")
        raise PublicationRefused(message % {"run": run, "version": run.model_version}, "run")
    if run.publication == Publication.PENDING:
        raise PublicationRefused(_("%(run)s is being published.") % {"run": run}, "run")
    if model is not None:
        if model.model_type != run.job.model_type:
            raise PublicationRefused(_("The model of that name is of another type."), "model")
        return
    wanted = Model(workspace=run.job.workspace, name=name, model_type=run.job.model_type)
    try:
        wanted.full_clean()
    except ValidationError as error:
        raise PublicationRefused(" ".join(error.messages), "name") from error


def pending(served: Collection[str] | None = None) -> list[int]:
    """Finished runs that still wait to be published, of the given queues (None: of all): their output lies on
    a machine that serves the queue. One that could not be stored rests for AGAIN_AFTER."""
    of_queues = queueing.on_queues(served)
    runs = Run.objects.filter(of_queues, state=RunState.DONE, publication=Publication.PENDING)
    lately = (timezone.now() - AGAIN_AFTER).isoformat()
    runs = runs.exclude(publication_note__tried_at__gt=lately)
    return list(runs.order_by("finished_at").values_list("pk", flat=True))


def publish(run_id: int) -> ModelVersion | None:
    """Publishes a finished run; returns the version, or None if it was not published (the run says why, another
    worker is at it, or the output lies on another machine). Where the storage is full or away the run says so, stays
    pending, and the error goes on to the caller.
    """
    if directories.is_waited_for(Run.objects.get(pk=run_id)):
        return None
    try:
        version = _reserve_version(run_id)
        if version is None:
            return None
        directory = launch.run_directory(version.run)
        if not directory.is_dir():
            raise NotPublishable("output_missing")
        # Two that copy at once would take each other's files away. The lock goes with its process.
        with FileLock(directory / LOCK_NAME, blocking=False):
            if _reserve_version(run_id) is None:
                return None  # the other one has just ended
            files = _copy(_published_files(directory, version), version)
            version = _complete(run_id, version, files)
            shutil.rmtree(directory / MERGED, ignore_errors=True)  # base and adapter make it again
        return version
    except Timeout:
        return None
    except merging.Interrupted:
        return None  # it stays pending, and whoever comes next begins again
    except NotPublishable as reason:
        _skip(run_id, reason)
        return None
    except DatabaseError:
        raise
    except Exception as error:
        _delay(run_id, error)
        raise


def _reserve_version(run_id: int) -> ModelVersion | None:
    """Decides on model and number, once; a repeated call finds the version it made before."""
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).get(pk=run_id)
        if run.state != RunState.DONE or run.publication != Publication.PENDING:
            return None
        if run.model_version is not None:
            return run.model_version
        model = _target(run)
        version = ModelVersion.objects.create(
            model=model,
            number=model.next_version,
            base_model=run.base_model,
            method=run.method,
            metrics=run.summary.get("result", {}).get("metrics", {}),
            created_by=run.created_by,
        )
        model.next_version += 1
        model.save(update_fields=["next_version"])
        run.model_version = version
        run.save(update_fields=["model_version"])
        return version


def _target(run: Run) -> Model:
    """The model that gets the version, locked; raises NotPublishable by the seed's rules."""
    models = Model.objects.select_for_update(of=("self",))
    if run.publish_as_new:
        model, created = models.get_or_create(
            workspace=run.job.workspace,
            name=run.publish_name,
            defaults={"model_type": run.job.model_type},
        )
        if not created:
            raise NotPublishable("name_taken", name=run.publish_name)
        return model
    existing = models.filter(expected_runs=run).first()
    if existing is None:
        raise NotPublishable("model_deleted", name=run.publish_name)
    return existing


def _published_files(directory: Path, version: ModelVersion) -> dict[str, Path]:
    """What a version consists of, by name: the run's output, full weights beside an adapter, the model card."""
    files = _files_of(directory / "output")
    if not files:
        raise NotPublishable("output_missing")
    if any(name in files for name in ADAPTERS):
        reason = merging.merge(directory, directory / MERGED)
        files |= _files_of(directory / MERGED, f"{MERGED}/")
        if reason:
            lifecycle.note(
                version.run, "warning", code="not_merged", params={"reason": reason}, message=reason
            )
    return files | _write_card(directory, version, set(files))


def _files_of(directory: Path, prefix: str = "") -> dict[str, Path]:
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    return {prefix + path.relative_to(directory).as_posix(): path for path in paths}


def _write_card(directory: Path, version: ModelVersion, files: set[str]) -> dict[str, Path]:
    """The model card of a version: model_card.json and README.md, written beside the run's output."""
    about = card.build(directory)
    base = version.base_model
    about["base"] |= {"name": base.name, "weights": base.runs_on}
    about["base"]["licence"] = about["base"]["licence"] or base.license_en or None
    about["model"] = {"name": version.model.name, "version": version.number, "label": str(version)}
    folder = directory / "card"
    folder.mkdir(exist_ok=True)
    (folder / card.CARD).write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n")
    (folder / card.README).write_text(card.render(about, files))
    return {name: folder / name for name in (card.CARD, card.README)}


def _copy(paths: dict[str, Path], version: ModelVersion) -> list[dict[str, Any]]:
    """Copies files into the storage; returns name, size in bytes and sha256 of each."""
    files = []
    for name, path in paths.items():
        target = f"models/{version.uid}/{name}"
        if default_storage.exists(target):
            default_storage.delete(target)  # half a file of an interrupted copy
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            default_storage.save(target, File(file))
        files.append({"name": name, "size": path.stat().st_size, "sha256": digest})
    return files


def _complete(run_id: int, version: ModelVersion, files: list[dict[str, Any]]) -> ModelVersion | None:
    """Marks version and run as published, together; None where the version has gone while its files were copied, which
    then go as well: a worker that was away for long must not bring it back."""
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).get(pk=run_id)
        if run.publication == Publication.PENDING and run.model_version_id == version.pk:
            version.path = f"models/{version.uid}"
            version.files = files
            version.size = sum(item["size"] for item in files)
            version.state = ModelVersionState.READY
            version.save()
            run.publication, run.publication_note = Publication.PUBLISHED, None
            run.save(update_fields=["publication", "publication_note"])
            lifecycle.note(run, "published", model=version.model.name, version=version.number)
            return version
    remove_folder(f"models/{version.uid}")
    return None


def _delay(run_id: int, error: Exception) -> None:
    """Says on the run why it is not published yet; what was copied of it makes room on a storage that is full."""
    full = is_full(error)
    code = "storage_full" if full else "publishing_delayed"
    said = {} if full else {"error": str(error)[:ERROR_LENGTH]}
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).get(pk=run_id)
        if run.publication != Publication.PENDING:
            return
        if (run.publication_note or {}).get("code") != code:
            lifecycle.note(run, "publish_delayed", code=code, params=said)
        run.publication_note = {"code": code, "params": said, "tried_at": timezone.now().isoformat()}
        run.save(update_fields=["publication_note"])
        begun = run.model_version
    if full and begun is not None:
        remove_folder(f"models/{begun.uid}")


def _skip(run_id: int, reason: NotPublishable) -> None:
    """Remembers why the run was not published, and takes back a version that was begun."""
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).get(pk=run_id)
        if run.model_version is not None:
            run.model_version.delete()
            run.model_version = None
        run.publication = Publication.SKIPPED
        run.publication_note = {"code": reason.code, "params": reason.params}
        run.save(update_fields=["publication", "publication_note", "model_version"])
        lifecycle.note(run, "publish_skipped", code=reason.code, params=reason.params)
        notifying.run_not_published(run)
