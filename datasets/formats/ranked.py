"""Sorted responses (有排序), for reward models: Qianfan's PromptSortedresponses."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base, turns
from datasets.models import RowType

# Single precision ends at 3.4e38.
MAX_SCORE = 1e38


class SortedResponses(base.Format):
    key = "sorted_responses"
    label = _("Prompt + Responses, sorted")
    description = _(
        "One list of turns a line; the last one has several replies in response, each a list of one text, and score: "
        "a number for each, higher is better. Earlier turns have one reply."
    )
    row_type = RowType.RANKED
    sample = "sorted_responses.jsonl"
    lacks = frozenset({"weights"})

    def recognises(self, record: Any) -> bool:
        return isinstance(turns.last_turn(record).get("score"), list)

    def row(self, record: Any) -> base.Row:
        question, last, field = turns.question(record)
        place = base.join(field, "response")
        replies = base.expect(base.required(last, "response", field), "array", place)
        scores = base.expect(base.required(last, "score", field), "array", base.join(field, "score"))
        if len(replies) < 2 or len(scores) != len(replies):
            raise base.RowError(place, "scores_differ", replies=len(replies), scores=len(scores))
        responses = [
            {
                "content": turns.unwrapped(reply, f"{place}[{number}]"),
                "score": _score(score, f"{base.join(field, 'score')}[{number}]"),
            }
            for number, (reply, score) in enumerate(zip(replies, scores, strict=True))
        ]
        return {"messages": question, "responses": responses}

    def record(self, row: base.Row) -> list[dict[str, Any]]:
        replies = {
            "response": [[response["content"]] for response in row["responses"]],
            "score": [response["score"] for response in row["responses"]],
        }
        return turns.written(row["messages"], ("prompt", "response"), replies)


def _score(value: Any, field: str) -> Any:
    """A number that a trainer can take; raises RowError for 1e999, which JSON reads as infinite."""
    base.expect(value, "number", field)
    if not -MAX_SCORE <= value <= MAX_SCORE:
        raise base.RowError(field, "not_finite", value=str(value)[:20])
    return value
