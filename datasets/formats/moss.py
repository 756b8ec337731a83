"""MOSS: {"chat": {"turn_1": {"Human": …, "MOSS": …}, …}}, texts between marks such as <|Human|>: and <eoh>.

What the model thinks, calls and is told by its tools stays between question and reply, as turns of a tool. What is
"None" there was not said. https://github.com/OpenMOSS/MOSS, SFT_data of MOSS-003.
"""

from __future__ import annotations

import re
from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base
from datasets.formats.tools import tool_call, tool_result

_MARKS = re.compile(r"^\s*<\|[^|<>]*\|>:?\s*|\s*<eo[a-z]>\s*$")
_TURN = re.compile(r"turn_(\d+)")


class Moss(base.Format):
    key = "moss"
    label = _("MOSS")
    description = _(
        "Objects with chat: turn_1, turn_2, … with Human and MOSS each, and Commands and Tool Responses where tools "
        "are used. meta_instruction is the system text."
    )
    sample = "moss.jsonl"
    lacks = frozenset({"weights"})

    def recognises(self, record: Any) -> bool:
        chat = record.get("chat") if isinstance(record, dict) else None
        return isinstance(chat, dict) and "turn_1" in chat

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        conversation = base.Conversation()
        if system := base.optional_text(record, "meta_instruction"):
            conversation.system(system, "meta_instruction")
        chat = base.expect(base.required(record, "chat"), "object", "chat")
        numbers = [int(found[1]) for key in chat if (found := _TURN.fullmatch(key))]
        if not numbers:
            raise base.RowError("chat", "empty_list")
        for number in sorted(numbers):
            field = f"chat.turn_{number}"
            self._add_turn(conversation, base.expect(chat[f"turn_{number}"], "object", field), field)
        return conversation.row("chat")

    def _add_turn(self, conversation: base.Conversation, turn: dict[str, Any], field: str) -> None:
        conversation.user(_said(base.required(turn, "Human", field), f"{field}.Human"), f"{field}.Human")
        call, answer = (
            _said(turn.get(key) or "", f"{field}.{key}") for key in ("Commands", "Tool Responses")
        )
        if call and answer:
            conversation.assistant(tool_call(call, f"{field}.Commands"), f"{field}.Commands", tool=True)
            conversation.user(
                tool_result(answer, f"{field}.Tool Responses"), f"{field}.Tool Responses", tool=True
            )
        conversation.assistant(_said(base.required(turn, "MOSS", field), f"{field}.MOSS"), f"{field}.MOSS")

    def record(self, row: base.Row) -> dict[str, Any]:
        system, said = base.divided(row["messages"])
        chat = {
            f"turn_{number}": {
                "Human": f"<|Human|>: {asked['content']}<eoh>\n",
                "MOSS": f"<|MOSS|>: {reply['content']}<eom>\n",
            }
            for number, (asked, reply) in enumerate(base.paired(said), 1)
        }
        return ({"meta_instruction": system} if system else {}) | {"chat": chat}


def _said(value: Any, field: str) -> str:
    """A text without the marks around it, "" for "None"; raises RowError for anything but a text."""
    text: str = _MARKS.sub("", base.expect(value, "string", field))
    return "" if text == "None" else text
