"""How tools appear in a conversation that has only system, user and assistant: as marked text.

The marks are those that the chat templates of Hermes and Qwen use, so that models trained on them know them.
"""

from __future__ import annotations

import json
from typing import Any

from datasets.formats import base


def tool_call(call: Any, field: str) -> str:
    """Marks a call (JSON text with name and arguments) that the model makes."""
    return f"<tool_call>\n{base.text(call, field).strip()}\n</tool_call>"


def tool_result(result: Any, field: str) -> str:
    """Marks what a tool answered."""
    return f"<tool_response>\n{base.text(result, field).strip()}\n</tool_response>"


def with_tools(system: str, tools: Any, field: str) -> str:
    """Returns the system text followed by the definitions of the tools (JSON, or already a text), if any."""
    if not tools:
        return system
    if isinstance(tools, list):
        definitions = json.dumps(tools, ensure_ascii=False)
    else:
        definitions = base.text(tools, field).strip()
        if definitions == "[]":
            return system
    block = f"<tools>\n{definitions}\n</tools>"
    return f"{system}\n\n{block}" if system else block
