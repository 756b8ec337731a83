"""Judged replies for KTO: a question, one reply, and whether it is a good one."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base, messages, preference, sharegpt, turns
from datasets.models import RowType


class KtoTurns(base.Format):
    key = "kto_turns"
    label = _("Prompt + Chosen or Rejected")
    description = _(
        "One list of turns a line: earlier turns with user and assistant, the last one with user and either chosen or "
        "rejected."
    )
    row_type = RowType.BINARY_PREFERENCE
    sample = "kto_turns.jsonl"
    lacks = frozenset({"weights"})

    def recognises(self, record: Any) -> bool:
        last = turns.last_turn(record)
        return ("chosen" in last) != ("rejected" in last)

    def row(self, record: Any) -> base.Row:
        question, last, field = turns.question(record)
        given = [key for key in ("chosen", "rejected") if last.get(key) is not None]
        if len(given) != 1:
            raise base.RowError(field, "one_of_two")
        completion = turns.unwrapped(last[given[0]], base.join(field, given[0]))
        return {"messages": question, "completion": completion, "label": given[0] == "chosen"}

    def record(self, row: base.Row) -> list[dict[str, Any]]:
        replies = {"chosen" if row["label"] else "rejected": row["completion"]}
        return turns.written(row["messages"], ("user", "assistant"), replies)


class KtoLabels(base.Format):
    key = "kto"
    label = _("Messages + label (public data)")
    description = _(
        "Objects with messages or conversations that end with a reply, or prompt and completion; and label (or "
        "kto_tag): true for a good reply, false for a bad one."
    )
    row_type = RowType.BINARY_PREFERENCE
    sample = "kto.json"
    columns = {"messages": [{"role": "", "content": "", "weight": 0}], "label": True}
    cells = ("prompt", "completion", "label")

    def recognises(self, record: Any) -> bool:
        return isinstance(record, dict) and (isinstance(record.get("label"), bool) or "kto_tag" in record)

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        key = "kto_tag" if "kto_tag" in record else "label"
        label = base.expect(base.required(record, key), "boolean", key)
        if "messages" in record:
            said = messages.conversation(record).row("messages")["messages"]
        elif "conversations" in record:
            said = sharegpt.conversation(record).row("conversations")["messages"]
        else:
            return _of_pair(record, label)
        question = base.Conversation()
        question.messages = said[:-1]
        completion = base.text(said[-1]["content"], "messages")
        return {"messages": question.question("messages"), "completion": completion, "label": label}

    def record(self, row: base.Row) -> dict[str, Any]:
        reply = {"role": "assistant", "content": row["completion"]}
        return {"messages": [*row["messages"], reply], "label": row["label"]}

    def flat(self, row: base.Row) -> dict[str, Any]:
        return {
            "prompt": row["messages"][-1]["content"],
            "completion": row["completion"],
            "label": row["label"],
        }


def _of_pair(record: dict[str, Any], label: bool) -> base.Row:
    """A question with its reply beside it, both as texts or, as TRL has them, as lists of messages."""
    asked, answered = (
        base.key_of(record, base.QUESTION_KEYS),
        base.key_of(record, ("completion", "response", "answer")),
    )
    question = preference.asked(base.required(record, asked), asked, base.optional_text(record, "system"))
    completion = preference.reply(base.required(record, answered), answered)
    return {"messages": question, "completion": completion, "label": label}
