"""Rows and problems made ready for a page: bounded in length, whatever the data hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy as _

from datasets.browsing import Query, pieces
from datasets.models import DatasetVersion
from datasets.rows import page_of_rows

ROWS_A_PAGE = 20
# What the overview shows of the rows.
TASTE_ROWS = 3
# Longer texts and longer conversations are folded; what is beyond the second figures is left to the download.
FOLD_CHARACTERS, SHOWN_CHARACTERS = 600, 8000
FOLD_MESSAGES, SHOWN_MESSAGES = 6, 40
# So much is shown before a match that lies far behind the start of its text.
LEAD_CHARACTERS = 200
EVERYTHING = Query()

ROLES: dict[str, Promise | str] = {
    "system": _("System"),
    "user": _("User"),
    "assistant": _("Assistant"),
    "prompt": _("Description"),
    "text": _("Text"),
    "chosen": _("Chosen reply"),
    "rejected": _("Rejected reply"),
    "good": _("Good reply"),
    "bad": _("Bad reply"),
    "response": _("Reply with score %(score)s"),
}


@dataclass(frozen=True)
class ShownMessage:
    """One message; `text` is HTML, `start` is set where it is folded, `left_out` counts characters that are not
    shown. A text with a match is not folded."""

    role: str
    label: Promise | str
    text: SafeString
    start: str
    left_out: int
    is_context: bool
    has_match: bool


@dataclass(frozen=True)
class ShownRow:
    """One row; `folded` follow the `messages`, `left_out` counts messages that are not shown.

    `picture` is the name of the row's picture, "" without one; `replies` are those that are compared; `origin` is where
    it was read, as "a.jsonl:12" ("" if unknown).
    """

    number: int
    picture: str
    messages: list[ShownMessage]
    folded: list[ShownMessage]
    left_out: int
    replies: list[ShownMessage]
    origin: str = ""

    @property
    def has_folded_match(self) -> bool:
        return any(message.has_match for message in self.folded)


def first_rows(version: DatasetVersion, limit: int) -> list[ShownRow]:
    """The first rows of a version; raises FileNotFoundError if the storage has lost them."""
    return [shown(number, row) for number, row in enumerate(page_of_rows(version, 0, limit), 1)]


def shown(number: int, row: dict[str, Any], query: Query = EVERYTHING, origin: str = "") -> ShownRow:
    """A row for a page; what the query looks for is marked in its texts."""
    messages = row.get("messages", [])
    turns = [
        _shown_message(
            message["role"], message["content"], is_context=message.get("weight") == 0, query=query
        )
        for message in messages[:SHOWN_MESSAGES]
    ]
    return ShownRow(
        number=number,
        picture=row.get("image", "").removeprefix("images/"),
        messages=turns[:FOLD_MESSAGES],
        folded=turns[FOLD_MESSAGES:],
        left_out=max(0, len(messages) - SHOWN_MESSAGES),
        replies=_shown_replies(row, query),
        origin=origin,
    )


def _shown_replies(row: dict[str, Any], query: Query) -> list[ShownMessage]:
    """What a row holds besides a conversation."""
    shown = [
        _shown_message(key, row[key], query=query)
        for key in ("prompt", "text", "chosen", "rejected")
        if key in row
    ]
    if "completion" in row:
        shown.append(_shown_message("good" if row["label"] else "bad", row["completion"], query=query))
    for response in row.get("responses", [])[:SHOWN_MESSAGES]:
        label = str(ROLES["response"]) % {"score": response["score"]}
        shown.append(_shown_message("response", response["content"], label, query=query))
    return shown


def _shown_message(
    role: str, content: str, label: Promise | str = "", is_context: bool = False, query: Query = EVERYTHING
) -> ShownMessage:
    matches = pieces(content, query)
    has_match = any(is_match for _piece, is_match in matches)
    # A match far behind is what the reader came for: the text then begins a little before it.
    before = len(matches[0][0]) if has_match and not matches[0][1] else 0
    skipped = before - LEAD_CHARACTERS if before > SHOWN_CHARACTERS // 2 else 0
    end = skipped + SHOWN_CHARACTERS
    return ShownMessage(
        role=role,
        label=label or ROLES[role],
        text=_marked(matches, skipped, end),
        start=content[: FOLD_CHARACTERS // 2] if len(content) > FOLD_CHARACTERS and not has_match else "",
        left_out=max(0, len(content) - SHOWN_CHARACTERS),
        is_context=is_context,
        has_match=has_match,
    )


def _marked(matches: list[tuple[str, bool]], start: int, end: int) -> SafeString:
    """The characters from `start` to `end` as HTML, matches in <mark>."""
    parts, at = [], 0
    for piece, is_match in matches:
        part = piece[max(0, start - at) : max(0, end - at)]
        at += len(piece)
        if part:
            parts.append(format_html("<mark>{}</mark>" if is_match else "{}", part))
    return mark_safe(("… " if start else "") + "".join(parts))  # noqa: S308 - made of format_html
