"""Prompt + Response: Qianfan's own format. One record is a list of turns; a bare object is a single turn."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base


class PromptResponse(base.Format):
    key = "prompt_response"
    label = _("Prompt + Response")
    description = _(
        "One conversation a line: a list of turns with prompt and response. The first turn may have a system "
        "text; weight 0 keeps a turn as context that is not learned."
    )
    sample = "prompt_response.jsonl"
    cells = ("system", "prompt", "response", "weight")

    def recognises(self, record: Any) -> bool:
        turns = record if isinstance(record, list) and record else [record]
        first, last = turns[0], turns[-1]
        return (
            isinstance(first, dict)
            and "prompt" in first
            and isinstance(last, dict)
            and ("response" in first or "file_name" not in first)
            and not base.has_other_data(first)
            and not base.has_other_data(last)
        )

    def row(self, record: Any) -> base.Row:
        if isinstance(record, dict):
            turns, many = [record], False
        else:
            turns, many = base.expect(record, "array", ""), True
            if not turns:
                raise base.RowError("", "empty_list")
        conversation = base.Conversation()
        for number, turn in enumerate(turns):
            self._add_turn(conversation, turn, f"[{number}]" if many else "", first=number == 0)
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
        conversation.user(base.required(turn, "prompt", field), base.join(field, "prompt"))
        place = base.join(field, "response")
        reply = _single(base.required(turn, "response", field), place)
        conversation.assistant(reply, place, base.weight(turn, field))


def _single(response: Any, field: str) -> Any:
    """Unwraps the older nested form [["text"]]; raises RowError for ranked data (several replies)."""
    while isinstance(response, list):
        if len(response) != 1:
            raise base.RowError(field, "ranked_responses" if response else "empty_list")
        response = response[0]
    return response
