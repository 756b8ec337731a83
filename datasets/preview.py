"""Rows and problems made ready for a page: bounded in length, whatever the data hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.models import DatasetVersion
from datasets.rows import page_of_rows

ROWS_A_PAGE = 20
# What the overview shows of the rows.
TASTE_ROWS = 3
# Longer texts and longer conversations are folded; what is beyond the second figures is left to the download.
FOLD_CHARACTERS, SHOWN_CHARACTERS = 600, 8000
FOLD_MESSAGES, SHOWN_MESSAGES = 6, 40

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
    """One message; `start` is set where the text is folded, `left_out` counts characters that are not shown."""

    role: str
    label: Promise | str
    text: str
    start: str
    left_out: int
    is_context: bool


@dataclass(frozen=True)
class ShownRow:
    """One row; `folded` follow the `messages`, `left_out` counts messages that are not shown.

    `picture` is the name of the row's picture, "" without one; `replies` are those that are compared.
    """

    number: int
    picture: str
    messages: list[ShownMessage]
    folded: list[ShownMessage]
    left_out: int
    replies: list[ShownMessage]


def first_rows(version: DatasetVersion, limit: int) -> list[ShownRow]:
    """The first rows of a version; raises FileNotFoundError if the storage has lost them."""
    return [shown(number, row) for number, row in enumerate(page_of_rows(version, 0, limit), 1)]


def shown(number: int, row: dict[str, Any]) -> ShownRow:
    messages = row.get("messages", [])
    turns = [
        _shown_message(message["role"], message["content"], is_context=message.get("weight") == 0)
        for message in messages[:SHOWN_MESSAGES]
    ]
    return ShownRow(
        number=number,
        picture=row.get("image", "").removeprefix("images/"),
        messages=turns[:FOLD_MESSAGES],
        folded=turns[FOLD_MESSAGES:],
        left_out=max(0, len(messages) - SHOWN_MESSAGES),
        replies=_shown_replies(row),
    )


def _shown_replies(row: dict[str, Any]) -> list[ShownMessage]:
    """What a row holds besides a conversation."""
    shown = [_shown_message(key, row[key]) for key in ("prompt", "text", "chosen", "rejected") if key in row]
    if "completion" in row:
        shown.append(_shown_message("good" if row["label"] else "bad", row["completion"]))
    for response in row.get("responses", [])[:SHOWN_MESSAGES]:
        label = str(ROLES["response"]) % {"score": response["score"]}
        shown.append(_shown_message("response", response["content"], label))
    return shown


def _shown_message(
    role: str, content: str, label: Promise | str = "", is_context: bool = False
) -> ShownMessage:
    return ShownMessage(
        role=role,
        label=label or ROLES[role],
        text=content[:SHOWN_CHARACTERS],
        start=content[: FOLD_CHARACTERS // 2] if len(content) > FOLD_CHARACTERS else "",
        left_out=max(0, len(content) - SHOWN_CHARACTERS),
        is_context=is_context,
    )
