"""Plain text for continued pre-training: Qianfan's Text. A line of a .txt file is a record of its own."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base
from datasets.models import RowType

# What beside the text makes it something to answer or to sort; all else is said about it (crawls bring a dozen keys).
_ANSWERS = frozenset(
    {
        "messages",
        "conversations",
        "instruction",
        "output",
        "label",
        "labels",
        *base.QUESTION_KEYS,
        *base.REPLY_KEYS,
    }
)


class Text(base.Format):
    key = "text"
    label = _("Plain text")
    description = _(
        "Objects with text and nothing to answer; of a .txt file every line that is not blank is a row."
    )
    row_type = RowType.TEXT
    sample = "text.jsonl"
    columns = {"text": ""}
    cells = ("text",)

    def recognises(self, record: Any) -> bool:
        return isinstance(record, dict) and "text" in record and not record.keys() & _ANSWERS

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        return {"text": base.text(base.required(record, "text"), "text")}

    def record(self, row: base.Row) -> dict[str, Any]:
        return row
