"""What can be wrong with imported data: every kind with its level and its sentence.

A problem is kept in the database as plain JSON (see `Problem`), so its sentence is made when somebody looks,
in the language of that person.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, NotRequired, TypedDict

import msgspec
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.storage import lines

if TYPE_CHECKING:
    from datasets.models import DatasetVersion

ERROR: Final = "error"
WARNING: Final = "warning"
EXCERPT_LENGTH = 120


class Problem(TypedDict):
    """One problem as it is stored.

    `line` counts from 1, the first line of the record; `row` is the record's number within a JSON array and
    null in JSON lines. Both are null where the whole file is meant. `field` is a path such as
    messages[2].content. `params` fill the sentence of the kind.
    """

    file: str
    line: int | None
    row: int | None
    field: str
    kind: str
    params: dict[str, Any]
    excerpt: str
    # Of an error, in the file of all problems only: the text of the record, unless it is very long.
    record: NotRequired[str]


@dataclass(frozen=True)
class Kind:
    """One kind of problem: a short title for the summary, the sentence for one occurrence, error or warning."""

    title: Promise | str
    message: Promise | str
    level: Literal["error", "warning"] = ERROR
    # A whole file, or its rest, is missing; otherwise one record.
    spoils_file: bool = False


# JSON's words for what was found, as the sentences use them.
TYPES: dict[str, Promise | str] = {
    "null": _("null"),
    "boolean": _("true or false"),
    "number": _("a number"),
    "string": _("a text"),
    "array": _("a list"),
    "object": _("an object"),
    # What only tables have.
    "bytes": _("binary data"),
    "date": _("a date or time"),
}

KINDS: dict[str, Kind] = {
    # The file as bytes and JSON.
    "encoding": Kind(
        _("Not UTF-8"), _("This is not UTF-8 (byte %(byte)s of the line). Save the file as UTF-8.")
    ),
    "encoding_in_text": Kind(
        _("Not UTF-8"),
        _(
            "The file is not UTF-8 from byte %(byte)s on. Nothing after it could be read; save the file as UTF-8."
        ),
        spoils_file=True,
    ),
    "not_text_file": Kind(
        _("Not a text file"),
        _("This is no UTF-8 text (NUL bytes at its start: UTF-16, an archive or a spreadsheet?)."),
        spoils_file=True,
    ),
    "invalid_json": Kind(_("Invalid JSON"), _("This is not valid JSON at column %(column)s: %(detail)s.")),
    "array_broken": Kind(
        _("Broken JSON file"),
        _("The JSON breaks at line %(line)s, column %(column)s: %(detail)s. Nothing after it could be read."),
        spoils_file=True,
    ),
    "rest_unread": Kind(_("Rest not read"), _("Nothing after this record could be read."), spoils_file=True),
    "second_list": Kind(
        _("Second list of records"),
        _(
            "Of the lists of records in this object only the first one is read. Put each list into a file of its own."
        ),
        spoils_file=True,
    ),
    "too_long": Kind(_("Record too long"), _("A record may have at most %(limit)s MB.")),
    "too_deep": Kind(_("Nested too deeply"), _("Lists and objects are nested too deeply.")),
    "not_finite": Kind(_("NaN or Infinity"), _("%(value)s is not JSON; write a number or null.")),
    "number_too_long": Kind(_("Number too long"), _("A number has too many digits.")),
    "duplicate_key": Kind(_("Key given twice"), _("The key “%(key)s” appears twice in one object.")),
    "surrogate": Kind(
        _("Broken character"), _("An escape like \\ud800 stands alone: half of a character is missing.")
    ),
    "nul_character": Kind(_("NUL character"), _("The text contains a NUL character (\\u0000).")),
    # The file as a whole.
    "wrong_extension": Kind(
        _("Wrong file name"),
        _(
            "The name ends in %(suffix)s, but the file is %(found)s. Save it as what it is, or give it the right name."
        ),
        spoils_file=True,
    ),
    "other_encoding": Kind(
        _("Not UTF-8"),
        _("This file is written in %(encoding)s, not in UTF-8. It can be read in that encoding."),
        spoils_file=True,
    ),
    "encoding_failed": Kind(
        _("Not in this encoding"),
        _("The file is not %(encoding)s from about byte %(byte)s on. Save it as UTF-8."),
        spoils_file=True,
    ),
    "rows_too_large": Kind(
        _("Too much data"),
        _("The rows take more than %(limit)s GB. Divide them into several datasets."),
        spoils_file=True,
    ),
    "ignored_file": Kind(
        _("File not used"),
        _("This file of the archive is neither data nor a picture; it was left out."),
        WARNING,
    ),
    # Archives.
    "archive_broken": Kind(
        _("Broken archive"),
        _("The archive is damaged or incomplete (%(detail)s). Nothing was taken from it."),
        spoils_file=True,
    ),
    "archive_bomb": Kind(
        _("Archive unpacks to too much"),
        _("The archive claims to unpack to more than %(ratio)s times its size. Nothing was taken from it."),
        spoils_file=True,
    ),
    "archive_too_large": Kind(
        _("Archive unpacks to too much"),
        _("The archives unpack to more than %(limit)s GB. Nothing was taken from this one."),
        spoils_file=True,
    ),
    "archive_too_many": Kind(
        _("Too many files"), _("An archive may hold at most %(limit)s files."), spoils_file=True
    ),
    "archive_unsafe_name": Kind(
        _("Path leads out of the archive"),
        _("The archive holds the path “%(name)s”, which leads out of it. Nothing was taken from it."),
        spoils_file=True,
    ),
    "archive_same_name": Kind(
        _("Name given twice"),
        _("The archive holds “%(name)s” twice. Nothing was taken from it."),
        spoils_file=True,
    ),
    "archive_link": Kind(
        _("Link in the archive"),
        _("“%(name)s” is a link or a device, not a file. Nothing was taken from the archive."),
        spoils_file=True,
    ),
    "archive_encrypted": Kind(
        _("Encrypted archive"), _("The archive asks for a password. Pack it without one."), spoils_file=True
    ),
    "archive_method": Kind(
        _("Unusual compression"), _("The archive is packed in a way other than deflate."), spoils_file=True
    ),
    "archive_nested": Kind(
        _("Archive within an archive"), _("Archives within archives are not unpacked."), spoils_file=True
    ),
    # Tables.
    "no_header": Kind(
        _("No column names"),
        _("The first row must name the columns, for example prompt and response."),
        spoils_file=True,
    ),
    "csv_broken": Kind(
        _("Broken CSV"),
        _("The CSV breaks here: %(detail)s. Nothing after it could be read."),
        spoils_file=True,
    ),
    "too_many_cells": Kind(
        _("Too many cells"),
        _(
            "The row has %(cells)s cells, the table %(columns)s columns. Texts with a comma need quotation marks."
        ),
    ),
    "xlsx_broken": Kind(
        _("Broken spreadsheet"), _("This is no readable .xlsx file: %(detail)s."), spoils_file=True
    ),
    "xlsx_too_large": Kind(
        _("Spreadsheet too large"),
        _("The spreadsheet unpacks to more than %(limit)s MB, or suspiciously far. Save it as CSV."),
        spoils_file=True,
    ),
    "formula": Kind(
        _("Formula"), _("The row holds a formula. Replace formulas by their values (paste as values).")
    ),
    "other_sheets": Kind(
        _("Other worksheets"),
        _("Only the first worksheet, “%(used)s”, was read; the file has %(count)s more."),
        WARNING,
    ),
    "parquet_broken": Kind(
        _("Broken Parquet file"),
        _("The Parquet file cannot be read from here on: %(detail)s."),
        spoils_file=True,
    ),
    "parquet_bomb": Kind(
        _("File unpacks to too much"),
        _("The Parquet file unpacks to more than %(ratio)s times its size. Nothing was read from here on."),
        spoils_file=True,
    ),
    "parquet_pages": Kind(
        _("Pages too large"),
        _(
            "Reading a row group of the Parquet file takes more than %(limit)s MB at once. Write it with smaller pages."
        ),
        spoils_file=True,
    ),
    "too_many_columns": Kind(
        _("Too many columns"),
        _("The table has %(count)s columns; at most %(limit)s are read."),
        spoils_file=True,
    ),
    "formula_like": Kind(
        _("Text like a formula"),
        _(
            "A text starts like a formula. It stays a text here; be careful when you open it in a spreadsheet."
        ),
        WARNING,
    ),
    "no_rows": Kind(_("No data"), _("The file has no rows."), spoils_file=True),
    "file_missing": Kind(
        _("File missing"),
        _("The uploaded file is no longer in the storage. Upload it again."),
        spoils_file=True,
    ),
    "unknown_format": Kind(
        _("Unknown format"),
        _("None of the accepted formats fits these rows. Choose a format, or compare with the samples."),
        spoils_file=True,
    ),
    "other_format": Kind(
        _("Another format"),
        _(
            "This file looks like %(found)s, but the version is read as %(expected)s. Upload one format a time."
        ),
        spoils_file=True,
    ),
    "other_kind": Kind(
        _("Another kind of data"),
        _(
            "These are rows of “%(found)s”, but the dataset's other versions hold “%(kind)s”. Create another dataset."
        ),
        spoils_file=True,
    ),
    "unexpected": Kind(
        _("Import stopped"),
        _(
            "The import stopped for a reason of the server's. Try again; if it stays, tell your administrator."
        ),
        spoils_file=True,
    ),
    "disk_full": Kind(
        _("Import stopped"),
        _("The server's disk is full. Ask your administrator to make room, then import again."),
        spoils_file=True,
    ),
    "worker_lost": Kind(
        _("Import stopped"),
        _(
            "The import ended its process several times, perhaps for lack of memory or because of a damaged file. Try "
            "again; if it stays, save the file anew or divide it."
        ),
        spoils_file=True,
    ),
    "cancelled": Kind(
        _("Import cancelled"),
        _("Somebody cancelled the import. The files are still here: import them again, or upload others."),
        spoils_file=True,
    ),
    "connection_failed": Kind(
        _("Object storage"),
        _("The object storage did not give the data: %(reason)s"),
        spoils_file=True,
    ),
    "place_empty": Kind(
        _("No data"),
        _("There are no .jsonl files in the folder %(folder)s/ any more."),
        spoils_file=True,
    ),
    "place_of_pictures": Kind(
        _("Pictures"),
        _("Only texts are used in place. Import data with pictures instead."),
        spoils_file=True,
    ),
    # The record.
    "wrong_type": Kind(_("Wrong kind of value"), _("Expected %(expected)s, found %(found)s."), ERROR),
    "missing": Kind(_("Field missing"), _("The field is missing.")),
    "empty": Kind(_("Empty text"), _("The text must not be empty.")),
    "empty_list": Kind(_("Empty list"), _("The list must not be empty.")),
    "not_a_pair": Kind(_("Not a pair"), _("Expected a list of two texts: question and answer.")),
    "unlabelled": Kind(
        _("No reply"), _("The conversation must end with a reply: unlabelled data cannot be trained on.")
    ),
    "ranked_responses": Kind(
        _("Ranked replies"),
        _("Several replies to one prompt: ranked data cannot be used here. Keep one reply."),
    ),
    "preference_row": Kind(
        _("Preference data"),
        _("The field “%(key)s” belongs to preference data, which supervised fine-tuning cannot use."),
    ),
    "image_row": Kind(
        _("Row with pictures"), _("The row refers to pictures; a dataset of conversations takes text only.")
    ),
    "unknown_role": Kind(_("Unknown role"), _("“%(role)s” is not a role. Known are: %(known)s.")),
    "system_not_first": Kind(
        _("System text too late"), _("A system text may only stand at the start of a conversation.")
    ),
    "starts_with_reply": Kind(
        _("Starts with a reply"), _("A conversation must start with the user, after an optional system text.")
    ),
    "roles_alternate": Kind(
        _("Roles do not alternate"),
        _("Two messages in a row have the role “%(role)s”; roles must alternate."),
    ),
    "invalid_weight": Kind(_("Invalid weight"), _("A weight must be 0 or 1.")),
    "nothing_to_learn": Kind(
        _("Nothing to learn"), _("Every reply has weight 0, so that nothing is learned from this row.")
    ),
    "no_question": Kind(_("No question"), _("Before the replies a question of the user is needed.")),
    "too_many_turns": Kind(
        _("Too many turns"), _("The row has %(turns)s turns; at most %(limit)s can be compared.")
    ),
    "same_replies": Kind(
        _("Same reply twice"),
        _("The chosen and the rejected reply are the same; nothing can be learned from that."),
    ),
    "not_a_reply": Kind(_("Not a reply"), _("Expected a reply of the assistant, found the role “%(role)s”.")),
    "questions_differ": Kind(
        _("Different questions"),
        _("The chosen and the rejected conversation must be the same up to their last message."),
    ),
    "one_of_two": Kind(
        _("Chosen or rejected"), _("The last turn needs either chosen or rejected, not both.")
    ),
    "scores_differ": Kind(
        _("Scores do not fit"),
        _(
            "Two or more replies are needed, and a score for each; found %(replies)s replies and %(scores)s scores."
        ),
    ),
    # Pictures.
    "picture_missing": Kind(
        _("Picture missing"), _("There is no picture “%(name)s” among the uploaded files.")
    ),
    "picture_ambiguous": Kind(
        _("Several pictures of that name"),
        _("Several of the uploaded pictures could be “%(name)s”. Write its whole path in the archive."),
    ),
    "picture_address": Kind(
        _("Picture on the internet"),
        _("Pictures are not fetched from addresses. Put the picture into the archive and write its path."),
    ),
    "picture_data_url": Kind(
        _("Broken data URL"), _("The picture in the row is not written as data:image/…;base64,….")
    ),
    "picture_unknown": Kind(
        _("Not a picture"), _("This is no JPEG, PNG, WebP or BMP picture, whatever its name says.")
    ),
    "picture_broken": Kind(_("Broken picture"), _("The picture cannot be decoded: %(detail)s.")),
    "picture_animated": Kind(
        _("Animated picture"), _("The picture is animated; only still pictures are used.")
    ),
    "picture_too_large": Kind(_("Picture too large"), _("A picture file may have at most %(limit)s MB.")),
    "picture_too_many_pixels": Kind(
        _("Too many pixels"), _("A picture may have at most %(limit)s million pixels.")
    ),
    "several_pictures": Kind(
        _("More than one picture"), _("The row has %(count)s pictures; exactly one can be used.")
    ),
    "several_marks": Kind(
        _("More than one picture"),
        _("The row marks the place of a picture %(count)s times; exactly one can be used."),
    ),
    "mark_not_first": Kind(
        _("Picture not in the first question"),
        _("The mark of the picture must stand in the first question of the user."),
    ),
    "no_caption": Kind(
        _("Picture without description"),
        _("There is no file of the same name (.json or .txt) that describes the picture."),
    ),
    "caption_too_long": Kind(_("Description too long"), _("A description may have at most 64 KB.")),
    "picture_unused": Kind(
        _("Picture not used"), _("No good row names this picture; it was left out."), WARNING
    ),
    # Worth a second look.
    "duplicate": Kind(_("Duplicate row"), _("The same row came before."), WARNING),
    "phone_number": Kind(_("Phone number"), _("The row may hold a mobile phone number."), WARNING),
    "identity_number": Kind(_("Identity number"), _("The row may hold an identity card number."), WARNING),
    "email_address": Kind(_("E-mail address"), _("The row may hold an e-mail address."), WARNING),
    "mixed_languages": Kind(
        _("Question and reply in different languages"),
        _(
            "The question is mostly in one script, the reply in another. For translations that is as it should be."
        ),
        WARNING,
    ),
    "empty_reply": Kind(
        _("Empty reply"),
        _("A reply is empty: the model would learn to say nothing here."),
        WARNING,
    ),
    "turns_cut": Kind(
        _("Turns cut"),
        _("The row has %(turns)s turns; only the first %(limit)s are kept."),
        WARNING,
    ),
}


def json_type(value: object) -> str:
    """Returns JSON's name for the type of a decoded value: a key of TYPES."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float | Decimal):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, bytes):
        return "bytes"
    if isinstance(value, dt.date | dt.time | dt.timedelta):
        return "date"
    return "array" if isinstance(value, list | tuple) else "object"


def message(problem: Problem) -> str:
    """Returns the sentence for one problem in the active language."""
    # Not at the top: the formats import this module.
    from datasets.encodings import ENCODINGS
    from datasets.formats import FORMATS
    from datasets.models import RowType

    words = TYPES | {key: format_.label for key, format_ in FORMATS.items()} | dict(RowType.choices)
    params = dict(problem["params"])
    if params.get("encoding") in ENCODINGS:
        params["encoding"] = ENCODINGS[params["encoding"]]
    for name in ("expected", "found", "kind"):
        if params.get(name) in words:
            params[name] = words[params[name]]
    return str(KINDS[problem["kind"]].message) % params


def general(kind: str, params: dict[str, Any] | None = None) -> Problem:
    """A problem of no particular place."""
    return Problem(file="", line=None, row=None, field="", kind=kind, params=params or {}, excerpt="")


def every(version: DatasetVersion) -> Iterator[Problem]:
    """All problems of a version, as far as they were kept; raises FileNotFoundError if the storage lost them."""
    if version.problems_path:
        for line in lines(version.problems_path):
            yield msgspec.json.decode(line)
    else:
        yield from version.problems


def excerpt(text: str) -> str:
    """Returns at most EXCERPT_LENGTH characters for showing, control characters made visible as spaces."""
    # A window first: the text may be megabytes long.
    shown = text[: EXCERPT_LENGTH + 1].strip()
    if not shown.isprintable():
        shown = "".join(character if character.isprintable() else " " for character in shown)
    return shown if len(shown) <= EXCERPT_LENGTH else shown[: EXCERPT_LENGTH - 1] + "…"


def error_count(kinds: Mapping[str, int]) -> int:
    """The number of errors among problems counted by kind; the rest only warns."""
    return sum(count for kind, count in kinds.items() if KINDS[kind].level == ERROR)


def spoilt_files(kinds: Mapping[str, int]) -> int:
    """How many of the errors concern a whole file or its rest; the other errors are one record each."""
    return sum(count for kind, count in kinds.items() if KINDS[kind].spoils_file)


@dataclass(frozen=True)
class Group:
    """All problems of one kind, for the summary; `shown` are those whose places were kept."""

    key: str
    kind: Kind
    count: int
    shown: list[tuple[Problem, str]]

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.count - len(self.shown)


def grouped(problems: Iterable[Problem], kinds: Mapping[str, int], limit: int = 10) -> list[Group]:
    """Groups problems by kind, errors first, then by count; each group shows its first `limit` places."""
    places: dict[str, list[tuple[Problem, str]]] = {}
    for problem in problems:
        group = places.setdefault(problem["kind"], [])
        if len(group) < limit:
            group.append((problem, message(problem)))
    order = sorted(kinds, key=lambda kind: (KINDS[kind].level != ERROR, -kinds[kind]))
    return [Group(kind, KINDS[kind], kinds[kind], places.get(kind, [])) for kind in order]
