"""ShareGPT: {"conversations": [{"from", "value"}, …]}, with LLaMA-Factory's function calls and tools.

Some data have messages with role and content in that list; they are read as such. So are lists of mere texts, question
and reply in turn (LIMA's conversations, UltraChat's data), and conversations in one text (transcripts.py).
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base
from datasets.formats import messages as role_messages
from datasets.formats.tools import tool_call, tool_result, with_tools
from datasets.formats.transcripts import as_sharegpt, is_transcript

USER = ("human", "user")
ASSISTANT = ("gpt", "assistant", "chatgpt", "bard", "bing")
CALL = ("function_call",)
RESULT = ("observation", "tool", "function")


class ShareGpt(base.Format):
    key = "sharegpt"
    label = _("ShareGPT")
    description = _(
        "Objects with conversations: a list of messages with from (human, gpt, system, function_call, "
        "observation) and value. system and tools beside the list are optional."
    )
    sample = "sharegpt.json"
    columns = {"conversations": [{"from": "", "value": "", "weight": 0}], "system": ""}

    def recognises(self, record: Any) -> bool:
        return (
            isinstance(record, dict)
            and ("conversations" in record or _are_texts(record.get("data")) or is_transcript(record))
            and not base.has_other_data(record)
        )

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        base.refuse_other_data(record)
        return conversation(record).row("conversations")

    def record(self, row: base.Row) -> dict[str, Any]:
        system, said = base.divided(row["messages"])
        lines = []
        for message in said:
            speaker = "human" if message["role"] == "user" else "gpt"
            line = {"from": speaker, "value": message["content"]}
            lines.append(line | ({"weight": message["weight"]} if "weight" in message else {}))
        record: dict[str, Any] = {"conversations": lines}
        return record | ({"system": system} if system else {})


def conversation(record: dict[str, Any]) -> base.Conversation:
    """Reads the conversation of a record, with system and tools beside it; raises RowError."""
    record = as_sharegpt(record)
    for key in ("conversations", "data"):
        if _are_texts(record.get(key)):
            return _in_turn(record[key], key)
    messages = base.expect(base.required(record, "conversations"), "array", "conversations")
    if messages and all(isinstance(one, dict) and "role" in one and "from" not in one for one in messages):
        return role_messages.conversation(record, "conversations")
    system, place = base.optional_text(record, "system"), "system"
    start = 0
    if messages and isinstance(messages[0], dict) and messages[0].get("from") == "system":
        if system:
            raise base.RowError("conversations[0]", "system_not_first")
        start, place = 1, "conversations[0].value"
        system = base.optional_text(messages[0], "value", "conversations[0]")
    conversation = base.Conversation()
    if system := with_tools(system, record.get("tools"), "tools"):
        conversation.system(system, place)
    if len(messages) == start:
        raise base.RowError("conversations", "empty_list")
    for number, message in enumerate(messages[start:], start):
        _add(conversation, message, f"conversations[{number}]")
    return conversation


def _are_texts(items: Any) -> bool:
    return isinstance(items, list) and len(items) > 1 and all(isinstance(item, str) for item in items)


def _in_turn(said: list[str], key: str) -> base.Conversation:
    conversation = base.Conversation()
    for number, content in enumerate(said):
        add = conversation.assistant if number % 2 else conversation.user
        add(content, f"{key}[{number}]")
    return conversation


def _add(conversation: base.Conversation, message: Any, field: str) -> None:
    base.expect(message, "object", field)
    role = base.expect(base.required(message, "from", field), "string", f"{field}.from")
    value = base.required(message, "value", field)
    place = f"{field}.value"
    if role in USER:
        conversation.user(value, place)
    elif role in ASSISTANT:
        conversation.assistant(value, place, base.weight(message, field))
    elif role in CALL:
        conversation.assistant(tool_call(value, place), place, base.weight(message, field), tool=True)
    elif role in RESULT:
        conversation.user(tool_result(value, place), place, tool=True)
    elif role == "system":
        raise base.RowError(f"{field}.from", "system_not_first")
    else:
        known = ", ".join(("system", *USER, *ASSISTANT[:2], *CALL, *RESULT[:2]))
        raise base.RowError(f"{field}.from", "unknown_role", role=role[:40], known=known)
