"""Qianfan's data for preferences: lists of turns, of which the last one holds the replies that are compared.

DPO_PromptChosenRejected and KTO_PromptChosenRejected call the sides of a turn user and assistant, older files and
sorted responses prompt and response; both are read everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets.formats import base


def last_turn(record: Any) -> dict[str, Any]:
    """The last turn of a list of turns, {} where the record is no such list."""
    if isinstance(record, list) and record and all(isinstance(turn, dict) for turn in record):
        last: dict[str, Any] = record[-1]
        return last if "user" in last or "prompt" in last else {}
    return {}


def question(record: Any) -> tuple[list[base.Message], dict[str, Any], str]:
    """Reads the turns up to the last question; returns its messages, the last turn and the path of that turn.

    Raises RowError.
    """
    turns = base.expect(record, "array", "")
    if not turns:
        raise base.RowError("", "empty_list")
    conversation = base.Conversation()
    for number, turn in enumerate(turns):
        field = f"[{number}]"
        base.expect(turn, "object", field)
        if system := base.optional_text(turn, "system", field):
            conversation.system(system, base.join(field, "system"))
        key = "prompt" if "prompt" in turn else "user"
        conversation.user(base.required(turn, key, field), base.join(field, key))
        if number < len(turns) - 1:
            key = "response" if "response" in turn else "assistant"
            reply = unwrapped(base.required(turn, key, field), base.join(field, key))
            conversation.assistant(reply, base.join(field, key))
    field = f"[{len(turns) - 1}]"
    return conversation.question(field), turns[-1], field


def unwrapped(value: Any, field: str) -> str:
    """A reply as a text, also from the nested form [["text"]]; raises RowError."""
    while isinstance(value, list):
        if len(value) != 1:
            raise base.RowError(field, "ranked_responses" if value else "empty_list")
        value = value[0]
    return base.text(value, field)


def written(messages: Sequence[base.Message], keys: tuple[str, str], replies: dict[str, Any]) -> list[Any]:
    """The inverse of `question`: a question as a list of turns, the replies that are compared in the last one."""
    system, said = base.divided(messages)
    asked, answered = keys
    turns = [{asked: one["content"], answered: reply["content"]} for one, reply in base.paired(said)]
    turns.append({asked: said[-1]["content"], **replies})
    turns[0] = ({"system": system} if system else {}) | turns[0]
    return turns
