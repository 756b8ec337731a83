"""What can be wrong with imported data: every kind with its level and its sentence.

A problem is kept in the database as plain JSON (see `Problem`), so its sentence is made when somebody looks,
in the language of that person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

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
    "unexpected": Kind(
        _("Import stopped"),
        _(
            "The import stopped for a reason of the server's. Try again; if it stays, tell your administrator."
        ),
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
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def message(problem: Problem) -> str:
    """Returns the sentence for one problem in the active language."""
    # Not at the top: the formats import this module.
    from datasets.formats import FORMATS

    words = TYPES | {key: format_.label for key, format_ in FORMATS.items()}
    params = dict(problem["params"])
    for name in ("expected", "found"):
        if params.get(name) in words:
            params[name] = words[params[name]]
    return str(KINDS[problem["kind"]].message) % params


def excerpt(text: str) -> str:
    """Returns at most EXCERPT_LENGTH characters for showing, control characters made visible as spaces."""
    # A window first: the text may be megabytes long.
    shown = "".join(
        character if character.isprintable() else " " for character in text[: EXCERPT_LENGTH + 1].strip()
    )
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
    return [Group(KINDS[kind], kinds[kind], places.get(kind, [])) for kind in order]
