"""Prompt + Response: Qianfan's own format. One record is a list of turns; a bare object is a single turn.

Public data call the two also question and answer, query and response (with `history` before them), prompt and
completion, input and target (Firefly) or output, problem and solution; TRL's prompt and completion may be lists of
messages, the turns may stand under conversation (Capybara), and the reply may be calls of tools (xLAM's answers).
"""

from __future__ import annotations

import json
from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base, messages
from datasets.formats.tools import tool_call, with_tools

QUESTION_KEYS = (*base.QUESTION_KEYS, "input", "problem")
REPLY_KEYS = (*base.REPLY_KEYS, "target", "output", "solution")


class PromptResponse(base.Format):
    key = "prompt_response"
    label = _("Prompt + Response")
    description = _(
        "One conversation a line: a list of turns with prompt and response. The first turn may have a system "
        "text; weight 0 keeps a turn as context that is not learned. One turn may stand by itself, also as question "
        "and answer, query and response, or prompt and completion."
    )
    sample = "prompt_response.jsonl"
    cells = ("system", "prompt", "response", "weight")

    def recognises(self, record: Any) -> bool:
        if _calls(record):
            return True
        turns = record.get("conversation") if isinstance(record, dict) else record
        turns = turns if isinstance(turns, list) and turns else [record]
        first, last = turns[0], turns[-1]
        return (
            isinstance(first, dict)
            and isinstance(last, dict)
            and _asks(first)
            and not base.has_other_data(first)
            and not base.has_other_data(last)
        )

    def row(self, record: Any) -> base.Row:
        if _calls(record):
            return _of_calls(record)
        place = ""
        if isinstance(record, dict) and isinstance(record.get("conversation"), list):
            record, place = record["conversation"], "conversation"
        if isinstance(record, dict):
            if isinstance(record.get("prompt"), list) and isinstance(record.get("completion"), list):
                return _of_messages(record)
            turns, many = [record], False
        else:
            turns, many = base.expect(record, "array", ""), True
            if not turns:
                raise base.RowError("", "empty_list")
        conversation = base.Conversation()
        for number, turn in enumerate(turns):
            self._add_turn(conversation, turn, f"{place}[{number}]" if many else "", first=number == 0)
        return conversation.row("")

    def record(self, row: base.Row) -> list[dict[str, Any]]:
        system, said = base.divided(row["messages"])
        turns: list[dict[str, Any]] = []
        for question, reply in base.paired(said):
            turn = {"system": system} if system and not turns else {}
            turn |= {"prompt": question["content"], "response": reply["content"]}
            turns.append(turn | ({"weight": reply["weight"]} if "weight" in reply else {}))
        return turns

    def flat(self, row: base.Row) -> dict[str, Any]:
        return self.record(row)[0]

    def _add_turn(self, conversation: base.Conversation, turn: Any, field: str, first: bool) -> None:
        base.expect(turn, "object", field)
        base.refuse_other_data(turn)
        system = base.optional_text(turn, "system", field)
        if system and not first:
            raise base.RowError(base.join(field, "system"), "system_not_first")
        if system:
            conversation.system(system, base.join(field, "system"))
        if first:
            conversation.history(turn.get("history"))
        asked, answered = base.key_of(turn, QUESTION_KEYS), base.key_of(turn, REPLY_KEYS)
        conversation.user(base.required(turn, asked, field), base.join(field, asked))
        place = base.join(field, answered)
        reply = _single(base.required(turn, answered, field), place)
        conversation.assistant(reply, place, base.weight(turn, field))


def _asks(turn: dict[str, Any]) -> bool:
    """True for a question beside its reply. A prompt alone is one that lacks it, unless it came along with messages or
    describes a picture."""
    if any(key in turn for key in base.REPLY_KEYS):
        return any(key in turn for key in base.QUESTION_KEYS)
    if any(key in turn for key in REPLY_KEYS):
        return any(key in turn for key in QUESTION_KEYS) and "instruction" not in turn  # which is Alpaca
    return "prompt" in turn and not turn.keys() & {"messages", "conversations", "file_name"}


def _calls(record: Any) -> bool:
    return isinstance(record, dict) and {"query", "answers", "tools"} <= record.keys()


def _of_calls(record: dict[str, Any]) -> base.Row:
    """A question that is answered by calls of tools, all of them JSON, also as texts; raises RowError."""
    calls = record["answers"]
    if isinstance(calls, str):
        try:
            calls = json.loads(calls)
        except (ValueError, RecursionError):
            calls = [calls]
    conversation = base.Conversation()
    if system := with_tools(base.optional_text(record, "system"), record["tools"], "tools"):
        conversation.system(system, "tools")
    conversation.user(base.required(record, "query"), "query")
    for number, call in enumerate(base.expect(calls, "array", "answers")):
        written = call if isinstance(call, str) else json.dumps(call, ensure_ascii=False)
        conversation.assistant(tool_call(written, f"answers[{number}]"), f"answers[{number}]", tool=True)
    return conversation.row("answers")


def _of_messages(record: dict[str, Any]) -> base.Row:
    """TRL's conversational prompt and completion; raises RowError."""
    base.refuse_other_data(record)
    return messages.conversation({**record, "messages": record["prompt"] + record["completion"]}).row(
        "completion"
    )


def _single(response: Any, field: str) -> Any:
    """Unwraps the older nested form [["text"]]; raises RowError for ranked data (several replies)."""
    while isinstance(response, list):
        if len(response) != 1:
            raise base.RowError(field, "ranked_responses" if response else "empty_list")
        response = response[0]
    return response
