"""Plain text for continued pre-training: Qianfan's Text. A line of a .txt file is a record of its own."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base
from datasets.models import RowType

# What may stand beside the text and still leave it a text without an answer.
_KEYS = {"text", "id", "meta", "source", "url", "title"}


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
        return (
            isinstance(record, dict)
            and set(record) <= {"text", "id", "meta", "source", "url", "title"}
            and "text" in record
        )

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        return {"text": base.text(base.required(record, "text"), "text")}

    def record(self, row: base.Row) -> dict[str, Any]:
        return row
