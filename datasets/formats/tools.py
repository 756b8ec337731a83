"""How tools appear in a conversation that has only system, user and assistant: as marked text.

The marks are those that the chat templates of Hermes and Qwen use, so that models trained on them know them.
"""

from __future__ import annotations

import json
from typing import Any

from datasets.formats import base


def tool_call(call: Any, field: str) -> str:
    """Marks a call (JSON text with name and arguments) that the model makes."""
    return _marked(call, "tool_call", field)


def tool_result(result: Any, field: str) -> str:
    """Marks what a tool answered."""
    return _marked(result, "tool_response", field)


def _marked(value: Any, mark: str, field: str) -> str:
    """The text between marks, unless it has them already."""
    text = base.text(value, field).strip()
    return text if text.startswith(f"<{mark}>") else f"<{mark}>\n{text}\n</{mark}>"


def with_tools(system: str, tools: Any, field: str) -> str:
    """Returns the system text followed by the definitions of the tools (JSON, or already a text), if any and if it does
    not hold them already."""
    if not tools or "<tools>" in system:
        return system
    if isinstance(tools, list):
        definitions = json.dumps(tools, ensure_ascii=False)
    else:
        definitions = base.text(tools, field).strip()
        if definitions == "[]":
            return system
    block = f"<tools>\n{definitions}\n</tools>"
    return f"{system}\n\n{block}" if system else block
