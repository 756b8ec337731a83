"""Bad records mended in the page: judged as an import judges them, then put with the good rows of the version."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import IO, Any

import msgspec
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils.translation import gettext as _

from console.afterwards import after_commit
from datasets import editing, pictures, publishing
from datasets.formats import FORMATS
from datasets.formats.base import Format, RowError, cut
from datasets.formats.image_caption import IMAGE_KEYS
from datasets.models import Dataset, DatasetVersion, RowType, VersionState
from datasets.noted import without
from datasets.pictures import PictureError, Shelf
from datasets.problems import ERROR, KINDS, Problem, error_count, every, general, message
from datasets.publishing import NotAllowed
from datasets.reading import Unreadable, single
from datasets.sources import inline, suffix_of

# Versions that may still change.
OPEN_STATES = (VersionState.FAILED, VersionState.DRAFT)
PICTURE_TYPES = (RowType.IMAGE_CAPTION, RowType.IMAGE_MESSAGES)


class NotMended(Exception):
    """The record is still no row; the text says why, for the user."""


def key_of(problem: Problem) -> str:
    """Names a problem in addresses: of one record there is one error."""
    place = [problem["file"], problem["line"], problem["row"], problem["field"], problem["kind"]]
    return hashlib.sha256(json.dumps(place).encode()).hexdigest()[:16]


def can_be_mended(version: DatasetVersion, problem: Problem) -> bool:
    """True for an error of one record in a version that may change, whose format is known."""
    kind = KINDS[problem["kind"]]
    return (
        version.state in OPEN_STATES
        and version.format in FORMATS
        and kind.level == ERROR
        and not kind.spoils_file
        and problem["line"] is not None
        # Of data that lie elsewhere no part can be taken.
        and not hasattr(version, "location")
    )


def find(version: DatasetVersion, key: str) -> Problem | None:
    """The problem of that key, with its `record` where the import kept it."""
    shown = next((problem for problem in version.problems if key_of(problem) == key), None)
    if shown is None or not version.problems_path:
        return shown
    with suppress(FileNotFoundError):
        return next((problem for problem in every(version) if key_of(problem) == key), shown)
    return shown


def takes_picture(version: DatasetVersion) -> bool:
    """True where a row has a picture, which may come with the mended record."""
    return version.format in FORMATS and FORMATS[version.format].row_type in PICTURE_TYPES


def mend(version: DatasetVersion, key: str, record: str, picture: IO[bytes] | None = None) -> None:
    """Puts a record, as somebody corrected it, with the good rows; its problem is gone then.

    The last error gone, a failed version becomes a draft. Raises NotMended for a record that is still no row,
    NotAllowed if the version cannot be changed any more or somebody else was faster.
    """
    with transaction.atomic():
        # In the order in which imports and deletions lock.
        dataset = Dataset.objects.select_for_update().get(pk=version.dataset_id)
        version = publishing.locked(version)
        problem = find(version, key)
        if problem is None or not can_be_mended(version, problem):
            raise NotAllowed(_("This problem is not there any more."))
        format_ = FORMATS[version.format]
        line = _line(version, format_, problem, record, picture)
        _settle_row_type(version, dataset, format_)
        origin = (problem["file"], problem["row"] or problem["line"] or 0)
        editing.rewrite(version, replace={}, drop=set(), append=[line], origin=origin)
        version.refresh_from_db()
        _forget(version, key, problem)


def _settle_row_type(version: DatasetVersion, dataset: Dataset, format_: Format) -> None:
    """A version's first row decides what the dataset holds, as at the end of an import; raises NotAllowed."""
    if version.row_count or format_.row_type == dataset.row_type:
        return
    if dataset.versions.exclude(pk=version.pk).filter(row_count__gt=0).exists():
        raise NotAllowed(_("The dataset's other versions hold another kind of data. Create another dataset."))
    dataset.row_type = format_.row_type
    dataset.save(update_fields=["row_type"])


def _line(
    version: DatasetVersion, format_: Format, problem: Problem, record: str, picture: IO[bytes] | None
) -> bytes:
    """The canonical row; raises NotMended."""
    value = _value(format_, problem, record, picture is not None)
    try:
        row = format_.row(value)
        if "image" in row:
            row["image"] = _picture(version, row["image"], picture)
        cut(row)
        return msgspec.json.encode(row)
    except RowError as error:
        raise NotMended(_sentence(error.kind, error.params, error.field)) from error
    except PictureError as error:
        raise NotMended(_sentence(error.kind, error.params, "image")) from error
    except UnicodeEncodeError as error:
        raise NotMended(_sentence("surrogate", {})) from error


def _value(format_: Format, problem: Problem, record: str, has_picture: bool) -> Any:
    """What the format judges: the record's JSON, or the text of a file that holds plain texts."""
    item = single(record)
    is_text = suffix_of(problem["file"]) == ".txt"
    if isinstance(item, Unreadable):
        if not is_text or item.kind != "invalid_json":
            raise NotMended(_sentence(item.kind, item.params))
        value: Any = record.strip()
    else:
        value = item.value
    if is_text and not isinstance(value, dict | list):
        key = "prompt" if format_.row_type == RowType.IMAGE_CAPTION else "text"
        value = {key: record.strip()}
    if has_picture and isinstance(value, dict) and not any(value.get(key) for key in (*IMAGE_KEYS, "images")):
        value["image"] = "picture"
    return value


def _picture(version: DatasetVersion, reference: str | bytes, picture: IO[bytes] | None) -> str:
    """Stores the picture that came along, or that is part of the record; returns what rows call it."""
    shelf = Shelf(version)
    if picture is not None:
        return shelf.put(picture)
    if isinstance(reference, bytes) or reference.startswith("data:"):
        return shelf.put(inline(reference))
    if reference.removeprefix("images/") in shelf.known and pictures.NAME.fullmatch(
        reference.removeprefix("images/")
    ):
        return f"images/{reference.removeprefix('images/')}"
    raise PictureError("picture_missing", name=reference[-100:])


def _sentence(kind: str, params: dict[str, Any], field: str = "") -> str:
    text = message(general(kind, params))
    return _("%(field)s: %(problem)s") % {"field": field, "problem": text} if field else text


# --- The problem goes ----------------------------------------------------------------------------------------


def _forget(version: DatasetVersion, key: str, problem: Problem) -> None:
    """Takes a problem out of the counts, the list and the file of all problems."""
    left = version.problem_kinds.get(problem["kind"], 1) - 1
    version.problem_kinds = {
        kind: count for kind, count in (version.problem_kinds | {problem["kind"]: left}).items() if count
    }
    version.problem_count = sum(version.problem_kinds.values())
    old = version.problems_path
    left = without(version, lambda other: key_of(other) == key)
    version.problems, version.problems_path = left.problems, left.path
    if old and old != left.path:
        after_commit(default_storage.delete, old)
    if version.state == VersionState.FAILED and not error_count(version.problem_kinds):
        version.state = VersionState.DRAFT
    version.save(update_fields=["problem_kinds", "problem_count", "problems", "problems_path", "state"])
