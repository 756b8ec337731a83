"""What happens to a version besides its import: new, filled, accepted, published. Nothing else changes its state."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import PurePosixPath

from django.core.files.storage import default_storage
from django.db import IntegrityError, transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from console.afterwards import after_commit
from console.models import User, Workspace
from datasets.models import Dataset, DatasetVersion, SourceFile, VersionState
from datasets.pictures import picture_names
from datasets.problems import error_count
from datasets.storage import copy

# States in which files may be uploaded; a version that is imported or published takes none.
OPEN_STATES = (VersionState.EMPTY, VersionState.FAILED, VersionState.DRAFT)


class NotAllowed(Exception):
    """The version's state does not allow the change; the text says why, for the user."""


def locked(version: DatasetVersion) -> DatasetVersion:
    """Returns the version as it is now, its row locked until the transaction ends."""
    return DatasetVersion.objects.select_for_update().get(pk=version.pk)


def require_open(version: DatasetVersion) -> None:
    """Raises NotAllowed if the version takes no files now."""
    if version.state == VersionState.PUBLISHED:
        raise NotAllowed(_("A published version cannot be changed. Create a new version."))
    if version.state not in OPEN_STATES:
        raise NotAllowed(_("Files are being imported into this version. Wait until that has ended."))


@transaction.atomic
def create_dataset(workspace: Workspace, user: User, name: str, description: str = "") -> DatasetVersion:
    """Creates a dataset with an empty V1; raises IntegrityError if the workspace has one of that name."""
    dataset = Dataset.objects.create(workspace=workspace, name=name, description=description, created_by=user)
    return DatasetVersion.objects.create(dataset=dataset, number=1, created_by=user)


def create_sample_dataset(workspace: Workspace, user: User) -> DatasetVersion:
    """Creates a dataset for the sample conversations, under the first name that is free."""
    base = name = _("Sample conversations")
    number = 1
    while True:
        if not workspace.datasets.filter(name=name).exists():
            # Somebody else may take the name between the question and the row.
            with suppress(IntegrityError):
                return create_dataset(workspace, user, name)
        number += 1
        name = f"{base} {number}"


@transaction.atomic
def new_version(dataset: Dataset, user: User) -> DatasetVersion:
    """Creates the next version, empty. The dataset's row is locked: two people get two numbers."""
    Dataset.objects.select_for_update().get(pk=dataset.pk)
    last = dataset.versions.aggregate(last=Max("number"))["last"] or 0
    return DatasetVersion.objects.create(dataset=dataset, number=last + 1, created_by=user)


def new_version_from(source: DatasetVersion, user: User) -> DatasetVersion:
    """Creates the next version as a draft with a copy of another one's rows and pictures; raises NotAllowed.

    The files are copied before the version shows them, so that a kill half way leaves an empty version behind.
    """
    if source.state not in (VersionState.DRAFT, VersionState.PUBLISHED) or not source.rows_path:
        raise NotAllowed(_("Only a version with rows of its own can be started from."))
    version = new_version(source.dataset, user)
    try:
        path = f"datasets/{version.uid}/{PurePosixPath(source.rows_path).name}"
        path = copy(source.rows_path, path)
        for name in picture_names(source):
            copy(f"datasets/{source.uid}/images/{name}", f"datasets/{version.uid}/images/{name}")
    except FileNotFoundError as error:
        version.delete()
        raise NotAllowed(_("The rows are no longer in the storage.")) from error
    copied = ("format", "row_count", "turn_count", "character_count", "content_hash", "statistics", "size")
    for name in copied:
        setattr(version, name, getattr(source, name))
    # Warnings concern rows and come along; what could not be read does not.
    version.problem_kinds = {
        kind: count for kind, count in source.problem_kinds.items() if not error_count({kind: count})
    }
    version.problems = [one for one in source.problems if one["kind"] in version.problem_kinds]
    version.problem_count = sum(version.problem_kinds.values())
    version.rows_path, version.started_from, version.state = path, source, VersionState.DRAFT
    version.save()
    return version


@transaction.atomic
def start_import(version: DatasetVersion, files: Iterable[SourceFile], format_key: str = "") -> None:
    """Replaces the version's files by others that lie in the storage already, and wakes a worker.

    Raises NotAllowed. `format_key` is a key of FORMATS, or "" to have it detected.
    """
    version = locked(version)
    require_open(version)
    replaced = list(version.files.values_list("path", flat=True))
    version.files.all().delete()
    size = 0
    for file in files:
        file.version = version
        file.save()
        size += file.size
    _reset(version, format_key, size)
    after_commit(_delete_files, replaced)
    _wake(version)


@transaction.atomic
def repeat_import(version: DatasetVersion, format_key: str | None = None) -> None:
    """Imports the files that the version has once more, in another format if one is given ("" detects it anew); raises
    NotAllowed."""
    version = locked(version)
    require_open(version)
    if not version.files.exists():
        raise NotAllowed(_("This version has no files yet."))
    _reset(version, version.format if format_key is None else format_key, version.size)
    _wake(version)


@transaction.atomic
def accept_encodings(version: DatasetVersion) -> None:
    """Imports the files once more, those that were found to be in another encoding in that one; raises NotAllowed."""
    version = locked(version)
    require_open(version)
    changed = 0
    for source in version.files.all():
        encodings = {
            problem["params"]["encoding"]
            for problem in version.problems
            if problem["kind"] == "other_encoding" and _is_of(problem["file"], source)
        }
        if encodings:
            source.encoding = min(encodings)
            source.save(update_fields=["encoding"])
            changed += 1
    if not changed:
        raise NotAllowed(_("No file of this version is in another encoding."))
    _reset(version, version.format, version.size)
    _wake(version)


def _is_of(name: str, source: SourceFile) -> bool:
    """True for the source file's name, and for a member of it if it is an archive."""
    return name == source.name or name.startswith(f"{source.name}/")


def _reset(version: DatasetVersion, format_key: str, size: int) -> None:
    version.state = VersionState.IMPORTING
    version.format = format_key
    version.size = size
    version.progress = version.row_count = version.turn_count = version.character_count = 0
    version.problem_count, version.problems, version.problem_kinds, version.statistics = 0, [], {}, {}
    version.content_hash = version.rows_path = version.problems_path = ""
    version.import_heartbeat_at, version.import_saved, version.import_losses = None, {}, 0
    version.started_from = None
    version.save()


def _wake(version: DatasetVersion) -> None:
    from datasets.tasks import import_version

    # A broker that is down loses nothing: `resume_imports` finds the version.
    after_commit(import_version.delay, version.pk)


def _delete_files(paths: Iterable[str]) -> None:
    for path in paths:
        default_storage.delete(path)


@transaction.atomic
def accept_good_rows(version: DatasetVersion) -> None:
    """Takes the good rows of a failed import and leaves the bad ones out; raises NotAllowed."""
    version = locked(version)
    if version.state != VersionState.FAILED or not version.row_count:
        raise NotAllowed(_("There are no good rows to take over."))
    version.state = VersionState.DRAFT
    version.save(update_fields=["state"])


@transaction.atomic
def publish(version: DatasetVersion) -> None:
    """Makes a draft with at least one row available for training, for good; raises NotAllowed."""
    version = locked(version)
    if version.state == VersionState.PUBLISHED:
        raise NotAllowed(_("This version is published already."))
    if version.state != VersionState.DRAFT or not version.row_count:
        raise NotAllowed(_("Only a draft with at least one row can be published."))
    version.state = VersionState.PUBLISHED
    version.published_at = timezone.now()
    version.save(update_fields=["state", "published_at"])
