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
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import IO, Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils.translation import gettext as _

from console.afterwards import after_commit
from datasets.columns import BATCH_ROWS, FLAG_BITS, Writer, digest, open_columns
from datasets.formats import FORMATS
from datasets.formats.base import Row, RowError, cut, texts, turns
from datasets.hints import personal_data, said_oddly
from datasets.models import DatasetVersion, RowType, VersionState
from datasets.noted import Left, without
from datasets.problems import ERROR, KINDS, Problem, excerpt, general, message
from datasets.publishing import NotAllowed
from datasets.sources import suffix_of
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
# Where a row was read: the name of its file, its place in it.
Origin = tuple[str, int]


class NotARow(Exception):
    """What was typed is no row: the field (a path such as messages[2].content), and a sentence for the user."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(field, text)
        self.field = field
        self.text = text


def obstacle(version: DatasetVersion, *, may_be_empty: bool = False) -> str:
    """Why the rows cannot be changed now, for the user; "" where they can."""
    if version.state == VersionState.PUBLISHED:
        return _("A published version cannot be changed. Start a new version from it.")
    if version.state not in EDITABLE or not (version.rows_path or may_be_empty):
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
        text = message(general(error.kind, error.params))
        raise NotARow(error.field.replace("prompt[", "messages["), text) from error
    except UnicodeEncodeError as error:
        raise NotARow("", _("The text holds half of a character, which cannot be stored.")) from error
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise NotARow("", _("The row lacks a part that rows of this kind need.")) from error


def rewrite(
    version: DatasetVersion,
    *,
    replace: dict[int, bytes],
    drop: set[int],
    append: list[bytes],
    origin: Origin = ("", 0),
) -> None:
    """Replaces, drops and appends rows: canonical lines, numbers from 0. Figures, hash, statistics and warnings follow.

    Rows may also be appended, as read at `origin`, to a version that has none yet. Raises NotAllowed for a version
    that cannot be changed, or that somebody else changed meanwhile.
    """
    found = DatasetVersion.objects.get(pk=version.pk)
    if problem := obstacle(found, may_be_empty=bool(append)):
        raise NotAllowed(problem)
    if any(not 0 <= number < found.row_count for number in (*drop, *replace)):
        raise NotAllowed(_("There is no such row any more. Load the page again."))
    if found.row_count - len(drop) + len(append) < 1:
        raise NotAllowed(_("The last row cannot be dropped. Delete the version instead."))
    with tempfile.TemporaryFile() as file:
        written = _write(found, file, replace, drop, [(line, origin) for line in append])
        figures = written.figures
        with pq.ParquetFile(file) as parquet:
            figures["statistics"] = statistics_of(parquet)
        file.seek(0)
        wanted = f"datasets/{found.uid}/rows-{found.import_attempt}-{secrets.token_hex(4)}.parquet"
        figures["rows_path"] = default_storage.save(wanted, File(file))
    try:
        figures |= _told_again(found, figures["statistics"]["flags"], written)
        with transaction.atomic():
            same = DatasetVersion.objects.filter(
                pk=found.pk, state__in=EDITABLE, rows_path=found.rows_path, content_hash=found.content_hash
            )
            if not same.update(**figures):
                raise NotAllowed(_("Somebody else has changed this version meanwhile. Load the page again."))
            found.token_counts.all().delete()
            for old in _files(found) - _files(DatasetVersion(**figures)):
                after_commit(default_storage.delete, old)
    except BaseException:
        for new in _files(DatasetVersion(**figures)) - _files(found):
            default_storage.delete(new)
        raise


def _files(version: DatasetVersion) -> set[str]:
    """What the version has in the storage besides pictures and uploaded files."""
    return {path for path in (version.rows_path, version.problems_path) if path}


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


@dataclass(frozen=True)
class _Written:
    """What a change of the rows comes to: the figures to store; where rows were dropped or replaced; the warnings
    (place and kind) that no longer hold, and those that are new."""

    figures: dict[str, Any]
    touched: set[Origin]
    ended: set[tuple[Origin, str]]
    begun: list[Problem]


def _write(
    version: DatasetVersion,
    file: IO[bytes],
    replace: dict[int, bytes],
    drop: set[int],
    append: list[tuple[bytes, Origin]],
) -> _Written:
    """Writes the changed rows into `file`."""
    hashed, seen = hashlib.sha256(), set()
    touched: set[Origin] = set()
    ended: set[tuple[Origin, str]] = set()
    begun: list[Problem] = []
    rows = turn_count = characters = 0
    duplicate = FLAG_BITS["duplicate"]
    # Behind the rows that there are come those that are appended, whose figures are not known yet.
    new = ((line, *_figures(line), *origin) for line, origin in append)
    with Writer(file) as writer:
        for number, (line, turn, count, before, name, place) in enumerate(chain(_rows(version), new)):
            if number in drop or number in replace:
                touched.add((name, place))
            if number in drop:
                ended |= {((name, place), kind) for kind, bit in FLAG_BITS.items() if before & bit}
                continue
            flags = before
            if number in replace:
                line = replace[number]
                turn, count, flags = _figures(line)
            key = digest(line)
            flags = flags | duplicate if key in seen else flags & ~duplicate
            if over := before & ~flags:
                ended |= {((name, place), kind) for kind, bit in FLAG_BITS.items() if over & bit}
            # Of rows that are appended nothing was told yet.
            if over := flags & ~before if number < version.row_count else flags:
                begun += [_warning(kind, line, name, place) for kind, bit in FLAG_BITS.items() if over & bit]
            seen.add(key)
            writer.add(line, turn, count, flags, name, place)
            hashed.update(line + b"\n")
            rows, turn_count, characters = rows + 1, turn_count + turn, characters + count
    figures = {
        "row_count": rows,
        "turn_count": turn_count,
        "character_count": characters,
        "content_hash": hashed.hexdigest(),
    }
    return _Written(figures, touched, ended, begun)


def _warning(kind: str, line: bytes, file: str, place: int) -> Problem:
    """A warning of a row, as an import lists it: of a JSON text the place is the number of the row, else its line."""
    is_number = suffix_of(file) == ".json"
    return Problem(
        file=file,
        line=None if is_number else place or None,
        row=place if is_number else None,
        field="",
        kind=kind,
        params={},
        excerpt=excerpt(line.decode()),
    )


def _rows(version: DatasetVersion) -> Iterator[tuple[bytes, int, int, int, str, int]]:
    names = ["line", "turns", "characters", "flags", "file", "place"]
    if not version.rows_path:
        return
    with open_columns(version) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _figures(line: bytes) -> tuple[int, int, int]:
    """Turns, characters and flags of a canonical line."""
    row = msgspec.json.decode(line)
    flags = sum(FLAG_BITS[kind] for kind in chain(personal_data(line), said_oddly(row.get("messages", []))))
    return turns(row), sum(map(len, texts(row))), flags


def _told_again(version: DatasetVersion, flagged: dict[str, int], written: _Written) -> dict[str, Any]:
    """The warnings after a change: those of rows that are gone or were cured go, those of new texts come, counts follow
    the rows."""
    left = Left(version.problems, version.problems_path, Counter())
    if written.touched or written.ended or written.begun:
        left = without(version, partial(_is_over, written), written.begun)
    # What concerns one good row stands in its flags.
    kinds = {kind: count - left.gone[kind] for kind, count in version.problem_kinds.items()}
    kinds |= {kind: flagged.get(kind, 0) for kind in FLAG_BITS}
    kinds = {kind: count for kind, count in kinds.items() if count > 0}
    return {
        "problem_kinds": kinds,
        "problems": left.problems,
        "problems_path": left.path,
        "problem_count": sum(kinds.values()),
    }


def _is_over(written: _Written, problem: Problem) -> bool:
    """True for a warning of a row that is gone, or that the change has cured."""
    place = (problem["file"], problem["row"] or problem["line"] or 0)
    if problem["kind"] in FLAG_BITS:
        return (place, problem["kind"]) in written.ended
    return KINDS[problem["kind"]].level != ERROR and problem["line"] is not None and place in written.touched
