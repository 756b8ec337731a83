"""Preferences as OpenAI's fine-tuning API takes them (method dpo)."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base, messages, preference
from datasets.models import RowType

SIDES = {"chosen": "preferred_output", "rejected": "non_preferred_output"}


class OpenAiPreference(base.Format):
    key = "openai_dpo"
    label = _("Preferred + non-preferred output (OpenAI)")
    description = _(
        "One object a line with input (an object with messages), preferred_output and non_preferred_output, each a "
        "list of one assistant message."
    )
    row_type = RowType.PREFERENCE
    sample = "openai_dpo.jsonl"
    columns = {
        "input": {"messages": [{"role": "", "content": "", "weight": 0}]},
        **{key: [{"role": "", "content": ""}] for key in SIDES.values()},
    }

    def recognises(self, record: Any) -> bool:
        return isinstance(record, dict) and all(key in record for key in SIDES.values())

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        asked = base.expect(base.required(record, "input"), "object", "input")
        question = messages.conversation(asked).question("input.messages")
        replies = {side: preference.reply(base.required(record, key), key) for side, key in SIDES.items()}
        return preference.compared(question, replies["chosen"], replies["rejected"], SIDES["rejected"])

    def record(self, row: base.Row) -> dict[str, Any]:
        sides = {key: [{"role": "assistant", "content": row[side]}] for side, key in SIDES.items()}
        return {"input": {"messages": row["messages"]}, **sides}
