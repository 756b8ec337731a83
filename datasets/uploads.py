"""Uploaded files on their way into the storage: what is accepted, where it goes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path, PurePath

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation, ValidationError
from django.core.files import File
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.template.defaultfilters import filesizeformat
from django.utils.text import get_valid_filename
from django.utils.translation import gettext as _

from datasets import publishing
from datasets.models import DatasetVersion, SourceFile, VersionState
from datasets.problems import general
from datasets.sources import EXTENSIONS, suffix_of

# Qianfan's limit for files from the user's own machine. (Theirs for one file is 1 GB; here the operator says.)
MAX_FILES = 100

SAMPLE = Path(__file__).parent / "samples" / "assistant.jsonl"


def max_file_bytes() -> int:
    """The largest file that may be uploaded (setting DATASET_MAX_FILE_MB)."""
    return int(settings.DATASET_MAX_FILE_MB) * 1024**2


def refusal(name: str, size: int) -> str:
    """Why a file is not accepted, in a sentence; "" if it is."""
    params = {
        "name": name,
        "kinds": ", ".join(EXTENSIONS),
        "size": filesizeformat(size),
        "limit": filesizeformat(max_file_bytes()),
    }
    if suffix_of(name) not in EXTENSIONS:
        return _("“%(name)s” is of no accepted kind: %(kinds)s.") % params
    if size <= 0:
        return _("“%(name)s” is empty.") % params
    if size > max_file_bytes():
        return _("“%(name)s” has %(size)s; a file may have at most %(limit)s.") % params
    return ""


def check(files: Iterable[UploadedFile]) -> None:
    """Raises ValidationError with one sentence for each file that is not accepted."""
    files, errors = list(files), list[str]()
    if len(files) > MAX_FILES:
        errors.append(
            _("At most %(limit)d files at a time; these are %(count)d.")
            % {"limit": MAX_FILES, "count": len(files)}
        )
    errors += filter(None, (refusal(file.name or "", file.size or 0) for file in files))
    if errors:
        raise ValidationError(errors)


def import_files(version: DatasetVersion, files: Iterable[File], format_key: str = "") -> None:
    """Writes files to the storage in pieces and starts their import into the version.

    Raises publishing.NotAllowed if the version takes none; then nothing stays in the storage. Each upload has
    names of its own, so that it never overwrites a file that an import reads.
    """
    batch = secrets.token_hex(4)
    stored: list[SourceFile] = []
    try:
        for number, file in enumerate(files, 1):
            name = PurePath(file.name or "").name
            path = f"datasets/{version.uid}/source/{batch}-{number}-{_safe(name)}"
            path = default_storage.save(path, file, max_length=300)
            stored.append(SourceFile(name=name, path=path, size=file.size))
        publishing.start_import(version, stored, format_key)
    except BaseException:
        for source in stored:
            default_storage.delete(source.path)
        raise


def import_sample(version: DatasetVersion) -> None:
    """Starts the import of the sample conversations that come with the console."""
    with SAMPLE.open("rb") as file:
        import_files(version, [File(file, name=SAMPLE.name)])


@transaction.atomic
def cancel_import(version: DatasetVersion) -> None:
    """Calls off an import; raises NotAllowed if none is under way.

    The worker finds its claim lost when it next reports, and takes back what it has stored. The files stay.
    """
    version = publishing.locked(version)
    if version.state != VersionState.IMPORTING:
        raise publishing.NotAllowed(_("Nothing is being imported into this version."))
    version.state = VersionState.FAILED
    version.problem_count, version.problems, version.problem_kinds = (
        1,
        [general("cancelled")],
        {"cancelled": 1},
    )
    version.save(update_fields=["state", "problem_count", "problems", "problem_kinds"])


def _safe(name: str) -> str:
    """A file name without anything that a file system or an address could take amiss."""
    path = PurePath(name)
    try:
        # 60 Chinese characters are 180 bytes; a name may have 255.
        return get_valid_filename(path.stem[:60]) + path.suffix.lower()
    except SuspiciousFileOperation:
        return "file" + path.suffix.lower()
