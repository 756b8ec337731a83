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
from django.template.defaultfilters import filesizeformat
from django.utils.text import get_valid_filename
from django.utils.translation import gettext as _

from datasets import publishing
from datasets.models import DatasetVersion, SourceFile
from datasets.sources import EXTENSIONS, suffix_of

# Qianfan's limits for files from the user's own machine: up to 100 files, up to 1 GB each.
MAX_FILES = 100
DEFAULT_MAX_FILE_MB = 1024

SAMPLE = Path(__file__).parent / "samples" / "assistant.jsonl"


def max_file_bytes() -> int:
    """The largest file that may be uploaded (setting DATASET_MAX_FILE_MB)."""
    return int(getattr(settings, "DATASET_MAX_FILE_MB", DEFAULT_MAX_FILE_MB)) * 1024**2


def check(files: Iterable[UploadedFile]) -> None:
    """Raises ValidationError with one sentence for each file that is not accepted."""
    files, errors = list(files), []
    if len(files) > MAX_FILES:
        errors.append(
            _("At most %(limit)d files at a time; these are %(count)d.")
            % {"limit": MAX_FILES, "count": len(files)}
        )
    for file in files:
        params = {
            "name": file.name,
            "kinds": ", ".join(EXTENSIONS),
            "size": filesizeformat(file.size or 0),
            "limit": filesizeformat(max_file_bytes()),
        }
        if suffix_of(file.name or "") not in EXTENSIONS:
            errors.append(_("“%(name)s” is of no accepted kind: %(kinds)s.") % params)
        elif not file.size:
            errors.append(_("“%(name)s” is empty.") % params)
        elif (file.size or 0) > max_file_bytes():
            errors.append(_("“%(name)s” has %(size)s; a file may have at most %(limit)s.") % params)
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


def _safe(name: str) -> str:
    """A file name without anything that a file system or an address could take amiss."""
    path = PurePath(name)
    try:
        # 60 Chinese characters are 180 bytes; a name may have 255.
        return get_valid_filename(path.stem[:60]) + path.suffix.lower()
    except SuspiciousFileOperation:
        return "file" + path.suffix.lower()
