"""Rows and problems made ready for a page: bounded in length, whatever the data hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from datasets.models import DatasetVersion
from datasets.rows import page_of_rows

ROWS_A_PAGE = 20
# Longer texts and longer conversations are folded; what is beyond the second figures is left to the download.
FOLD_CHARACTERS, SHOWN_CHARACTERS = 600, 8000
FOLD_MESSAGES, SHOWN_MESSAGES = 6, 40

ROLES: dict[str, Promise | str] = {"system": _("System"), "user": _("User"), "assistant": _("Assistant")}


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
    """One row; `folded` follow the `messages`, `left_out` counts messages that are not shown."""

    number: int
    messages: list[ShownMessage]
    folded: list[ShownMessage]
    left_out: int


class Rows(Sequence[ShownRow]):
    """The rows of a version for a Paginator: only the slice that is asked for is read."""

    def __init__(self, version: DatasetVersion) -> None:
        self.version = version

    def __len__(self) -> int:
        return self.version.row_count

    @overload
    def __getitem__(self, index: int) -> ShownRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[ShownRow]: ...

    def __getitem__(self, index: int | slice) -> ShownRow | list[ShownRow]:
        if isinstance(index, int):
            return self[index : index + 1][0]
        start, stop, _step = index.indices(len(self))
        rows = page_of_rows(self.version, start, stop - start)
        return [_shown(number, row) for number, row in enumerate(rows, start + 1)]


def _shown(number: int, row: dict[str, Any]) -> ShownRow:
    shown = [_shown_message(message) for message in row["messages"][:SHOWN_MESSAGES]]
    return ShownRow(
        number=number,
        messages=shown[:FOLD_MESSAGES],
        folded=shown[FOLD_MESSAGES:],
        left_out=max(0, len(row["messages"]) - SHOWN_MESSAGES),
    )


def _shown_message(message: dict[str, Any]) -> ShownMessage:
    content: str = message["content"]
    return ShownMessage(
        role=message["role"],
        label=ROLES[message["role"]],
        text=content[:SHOWN_CHARACTERS],
        start=content[: FOLD_CHARACTERS // 2] if len(content) > FOLD_CHARACTERS else "",
        left_out=max(0, len(content) - SHOWN_CHARACTERS),
        is_context=message.get("weight") == 0,
    )
