"""Role messages, as OpenAI's API and Qianfan's Role format have them: {"messages": [{"role", "content"}, …]}."""

from __future__ import annotations

import json
from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base
from datasets.formats.references import has_part
from datasets.formats.tools import tool_call, tool_result, with_tools

ROLES = ("system", "developer", "user", "assistant", "tool", "function")


class Messages(base.Format):
    key = "messages"
    label = _("Messages (OpenAI)")
    description = _(
        "One object a line with a list of messages, each with role (system, user, assistant, tool) and content. "
        "Calls of tools and their results are kept as text."
    )
    sample = "messages.jsonl"
    columns = {"messages": [{"role": "", "content": "", "weight": 0}]}

    def recognises(self, record: Any) -> bool:
        if not isinstance(record, dict) or "messages" not in record:
            return False
        return not base.has_other_data(record) and not has_part(record)

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        base.refuse_other_data(record)
        return conversation(record).row("messages")

    def record(self, row: base.Row) -> dict[str, Any]:
        return row


def conversation(record: dict[str, Any], key: str = "messages") -> base.Conversation:
    """Reads the messages of a record, and the tools beside them; raises RowError."""
    messages = base.expect(base.required(record, key), "array", key)
    if not messages:
        raise base.RowError(key, "empty_list")
    conversation = base.Conversation()
    tools = record.get("tools") or record.get("functions")
    if system := base.optional_text(record, "system"):
        conversation.system(with_tools(system, tools, "tools"), "system")
        tools = None
    for number, message in enumerate(messages):
        field = f"{key}[{number}]"
        base.expect(message, "object", field)
        role = base.expect(base.required(message, "role", field), "string", f"{field}.role")
        if number == 0 and tools and role not in ("system", "developer"):
            conversation.system(with_tools("", tools, "tools"), "tools")
        _add(conversation, message, role, field, tools if number == 0 else None)
    return conversation


def _add(conversation: base.Conversation, message: dict[str, Any], role: str, field: str, tools: Any) -> None:
    """Adds one message; `tools` go into a system message."""
    place = f"{field}.content"
    content = _content(message.get("content"), place)
    if role in ("system", "developer"):
        conversation.system(with_tools(base.text(content, place), tools, "tools"), place)
    elif role == "user":
        conversation.user(_needed(content, place), place)
    elif role in ("tool", "function"):
        conversation.user(tool_result(_needed(content, place), place), place, tool=True)
    elif role == "assistant":
        weight = base.weight(message, field)
        calls = _calls(message, field)
        # A message that only calls tools has no content of its own.
        if not calls or (isinstance(content, str) and content.strip()):
            conversation.assistant(_needed(content, place), place, weight)
        for call in calls:
            conversation.assistant(call, field, weight, tool=True)
    else:
        raise base.RowError(f"{field}.role", "unknown_role", role=role[:40], known=", ".join(ROLES))


def _needed(content: Any, field: str) -> Any:
    if content is None:
        raise base.RowError(field, "missing")
    return content


def _content(content: Any, field: str) -> Any:
    """Joins the text parts of the list form of content; raises RowError where a part is no text."""
    if not isinstance(content, list):
        return content
    parts = []
    for number, part in enumerate(content):
        place = f"{field}[{number}]"
        base.expect(part, "object", place)
        if part.get("type", "text") != "text":
            raise base.RowError(place, "image_row")
        parts.append(base.text(base.required(part, "text", place), f"{place}.text"))
    return "\n".join(parts)


def _calls(message: dict[str, Any], field: str) -> list[str]:
    """The calls of tools in an assistant message, each as text."""
    texts = []
    calls = message.get("tool_calls") or []
    for number, call in enumerate(base.expect(calls, "array", f"{field}.tool_calls")):
        place = f"{field}.tool_calls[{number}]"
        base.expect(call, "object", place)
        texts.append(_call_text(base.required(call, "function", place), f"{place}.function"))
    if message.get("function_call"):
        texts.append(_call_text(message["function_call"], f"{field}.function_call"))
    return texts


def _call_text(function: Any, field: str) -> str:
    base.expect(function, "object", field)
    name = base.text(base.required(function, "name", field), f"{field}.name")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments or {}, ensure_ascii=False)
    return tool_call(
        f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {arguments or "{}"}}}', field
    )
