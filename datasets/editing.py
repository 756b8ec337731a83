"""Rows of a version that is not published, changed in place.

The rows lie in one file, so that a change writes a new one. Killed at any moment nothing is lost or half visible:
1. The new file is stored beside the old one.
2. One UPDATE, which asks for the old file, shows file, figures and hash together; somebody else's change in between
   makes it fail, and the new file goes.
3. The old file goes once that is committed. What a kill leaves behind the next import removes, or
   `manage.py check_datasets --remove`.
"""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import IO, Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils.translation import gettext as _

from datasets.columns import BATCH_ROWS, FLAG_BITS, Writer, digest, open_columns
from datasets.formats import FORMATS
from datasets.formats.base import Row, RowError, cut, texts, turns
from datasets.hints import mixes_languages, personal_data
from datasets.models import DatasetVersion, RowType, VersionState
from datasets.problems import Problem, message
from datasets.publishing import NotAllowed
from datasets.statistics import statistics_of

# Versions whose rows may be changed.
EDITABLE = (VersionState.DRAFT, VersionState.FAILED)
# About two seconds of work on one busy core.
MAX_ROWS = 60_000
MAX_CHARACTERS = 20_000_000

# The format whose rules judge an edited row: what it writes, `row` reads back exactly.
JUDGES = {
    RowType.MESSAGES: "messages",
    RowType.IMAGE_CAPTION: "image_caption",
    RowType.IMAGE_MESSAGES: "prompt_image_response",
    RowType.PREFERENCE: "dpo",
    RowType.BINARY_PREFERENCE: "kto",
    RowType.RANKED: "sorted_responses",
    RowType.TEXT: "text",
}
# Warnings that concern one good row and are told again when rows change.
_TOLD_AGAIN = tuple(kind for kind in FLAG_BITS if kind != "picture_unused")


class NotARow(Exception):
    """What was typed is no row: the field (a path such as messages[2].content), and a sentence for the user."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(field, text)
        self.field = field
        self.text = text


def obstacle(version: DatasetVersion) -> str:
    """Why the rows cannot be changed now, for the user; "" where they can."""
    if version.state == VersionState.PUBLISHED:
        return _("A published version cannot be changed. Start a new version from it.")
    if version.state not in EDITABLE or not version.rows_path:
        return _("This version has no rows that could be changed now.")
    if version.row_count > MAX_ROWS or version.character_count > MAX_CHARACTERS:
        return _(
            "This version is too large to be changed row by row: download it, edit the file, upload it again."
        )
    return ""


def canonical(row: Row, row_type: str) -> bytes:
    """The line of a row that somebody typed, by the rules of an import; raises NotARow."""
    format_ = FORMATS[JUDGES[RowType(row_type)]]
    try:
        checked = format_.row(format_.record(row))
        had = cut(checked)
        if had != turns(checked):
            raise NotARow("messages", _("The row has more turns than a conversation may have."))
        return msgspec.json.encode(checked)
    except RowError as error:
        problem = Problem(
            file="", line=None, row=None, field="", kind=error.kind, params=error.params, excerpt=""
        )
        raise NotARow(error.field.replace("prompt[", "messages["), message(problem)) from error
    except UnicodeEncodeError as error:
        raise NotARow("", _("The text holds half of a character, which cannot be stored.")) from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise NotARow("", _("The row lacks a part that rows of this kind need.")) from error


def rewrite(
    version: DatasetVersion, *, replace: dict[int, bytes], drop: set[int], append: list[bytes]
) -> None:
    """Replaces, drops and appends rows: canonical lines, numbers from 0. Figures, hash and statistics follow.

    Raises NotAllowed for a version that cannot be changed, or that somebody else changed meanwhile.
    """
    found = DatasetVersion.objects.get(pk=version.pk)
    if problem := obstacle(found):
        raise NotAllowed(problem)
    if any(not 0 <= number < found.row_count for number in (*drop, *replace)):
        raise NotAllowed(_("There is no such row any more. Load the page again."))
    if found.row_count - len(drop) + len(append) < 1:
        raise NotAllowed(_("The last row cannot be dropped. Delete the version instead."))
    with tempfile.TemporaryFile() as file:
        figures = _write(found, file, replace, drop, append)
        with pq.ParquetFile(file) as parquet:
            figures["statistics"] = statistics_of(parquet)
        file.seek(0)
        wanted = f"datasets/{found.uid}/rows-{found.import_attempt}-{secrets.token_hex(4)}.parquet"
        path = default_storage.save(wanted, File(file))
    figures["rows_path"] = path
    figures |= _told_again(found, figures["statistics"], figures.pop("touched"))
    try:
        with transaction.atomic():
            same = DatasetVersion.objects.filter(
                pk=found.pk, state__in=EDITABLE, rows_path=found.rows_path, content_hash=found.content_hash
            )
            if not same.update(**figures):
                raise NotAllowed(_("Somebody else has changed this version meanwhile. Load the page again."))
            found.token_counts.all().delete()
            transaction.on_commit(partial(default_storage.delete, found.rows_path), robust=True)
    except BaseException:
        default_storage.delete(path)
        raise


def drop_flagged(version: DatasetVersion, kind: str) -> int:
    """Drops every row that a warning of `kind` (of columns.ROW_FLAGS) concerns; returns how many.

    Raises NotAllowed, also where no row would be left.
    """
    bit = FLAG_BITS[kind]
    with open_columns(version) as parquet:
        flags = parquet.read(columns=["flags"])["flags"].to_numpy()
    numbers = set(np.flatnonzero(flags & bit).tolist())
    if not numbers:
        raise NotAllowed(_("No row has this warning any more."))
    rewrite(version, replace={}, drop=numbers, append=[])
    return len(numbers)


def _write(
    version: DatasetVersion, file: IO[bytes], replace: dict[int, bytes], drop: set[int], append: list[bytes]
) -> dict[str, Any]:
    """Writes the changed rows into `file`; returns the figures to store, and `touched` places."""
    hashed, seen, touched = hashlib.sha256(), set(), set()
    rows = turn_count = characters = 0
    duplicate = FLAG_BITS["duplicate"]
    with Writer(file) as writer:
        for number, (line, turn, count, flags, name, place) in enumerate(_rows(version)):
            if number in drop or number in replace:
                touched.add((name, place))
            if number in drop:
                continue
            if number in replace:
                line = replace[number]
                turn, count, flags = _figures(line)
            key = digest(line)
            flags = flags | duplicate if key in seen else flags & ~duplicate
            seen.add(key)
            writer.add(line, turn, count, flags, name, place)
            hashed.update(line + b"\n")
            rows, turn_count, characters = rows + 1, turn_count + turn, characters + count
        for line in append:
            turn, count, flags = _figures(line)
            key = digest(line)
            writer.add(line, turn, count, flags | duplicate if key in seen else flags)
            seen.add(key)
            hashed.update(line + b"\n")
            rows, turn_count, characters = rows + 1, turn_count + turn, characters + count
    return {
        "row_count": rows,
        "turn_count": turn_count,
        "character_count": characters,
        "content_hash": hashed.hexdigest(),
        "touched": touched,
    }


def _rows(version: DatasetVersion) -> Iterator[tuple[bytes, int, int, int, str, int]]:
    names = ["line", "turns", "characters", "flags", "file", "place"]
    with open_columns(version) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _figures(line: bytes) -> tuple[int, int, int]:
    """Turns, characters and flags of a canonical line."""
    row = msgspec.json.decode(line)
    flags = sum(FLAG_BITS[kind] for kind in personal_data(line) if kind in FLAG_BITS)
    if "messages" in row and mixes_languages(row["messages"]):
        flags |= FLAG_BITS["mixed_languages"]
    return turns(row), sum(map(len, texts(row))), flags


def _told_again(
    version: DatasetVersion, statistics: dict[str, Any], touched: set[tuple[str, int]]
) -> dict[str, Any]:
    """The warnings after a change: those of rows that are gone or were changed go, counts follow the rows."""
    kinds = {kind: count for kind, count in version.problem_kinds.items() if kind not in _TOLD_AGAIN}
    flagged: dict[str, int] = statistics["flags"]
    kinds |= {kind: count for kind, count in flagged.items() if kind in _TOLD_AGAIN}
    problems = [
        problem
        for problem in version.problems
        if problem["kind"] not in _TOLD_AGAIN
        or (problem["kind"] in kinds and (problem["file"], problem["row"] or problem["line"]) not in touched)
    ]
    return {"problem_kinds": kinds, "problems": problems, "problem_count": sum(kinds.values())}
