"""Alpaca: instruction, input, output; with system and history as LLaMA-Factory extends it.

Dolly's context and response are read as input and output.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base

INPUT_KEYS = ("input", "context")
OUTPUT_KEYS = ("output", "response")


class Alpaca(base.Format):
    key = "alpaca"
    label = _("Alpaca")
    description = _(
        "Objects with instruction, input and output; input may be empty. system and history (a list of "
        "[question, answer]) are optional."
    )
    sample = "alpaca.json"
    lacks = frozenset({"weights"})
    columns = {"instruction": "", "input": "", "output": "", "system": "", "history": [[""]]}
    cells = ("instruction", "input", "output", "system")

    def recognises(self, record: Any) -> bool:
        return isinstance(record, dict) and "instruction" in record and not base.has_other_data(record)

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        base.refuse_other_data(record)
        conversation = question(record)
        output = base.key_of(record, OUTPUT_KEYS)
        conversation.assistant(base.required(record, output), output)
        return conversation.row("")

    def record(self, row: base.Row) -> dict[str, Any]:
        system, said = base.divided(row["messages"])
        *earlier, last = base.paired(said)
        record: dict[str, Any] = {
            "instruction": last[0]["content"],
            "input": "",
            "output": last[1]["content"],
        }
        if system:
            record["system"] = system
        if earlier:
            record["history"] = [[asked["content"], reply["content"]] for asked, reply in earlier]
        return record


def question(record: dict[str, Any]) -> base.Conversation:
    """Reads everything before the output; raises RowError."""
    conversation = base.Conversation()
    if system := base.optional_text(record, "system"):
        conversation.system(system, "system")
    conversation.history(record.get("history"))
    instruction = base.expect(base.required(record, "instruction"), "string", "instruction")
    more = base.optional_text(record, base.key_of(record, INPUT_KEYS))
    parts = [part for part in (instruction, more) if part.strip()]
    conversation.user("\n".join(parts), "instruction")
    return conversation
