"""Preferences for DPO: a question, a chosen and a rejected reply. As Qianfan has them, and as public data do."""

from __future__ import annotations

import re
from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import alpaca, base, messages, sharegpt, transcripts, turns
from datasets.models import RowType


class DpoTurns(base.Format):
    key = "dpo_turns"
    label = _("Prompt + Chosen + Rejected")
    description = _(
        "One list of turns a line: earlier turns with user and assistant, the last one with user, chosen and rejected. "
        "The first turn may have a system text."
    )
    row_type = RowType.PREFERENCE
    sample = "dpo_turns.jsonl"
    lacks = frozenset({"weights"})

    def recognises(self, record: Any) -> bool:
        last = turns.last_turn(record)
        return "chosen" in last and "rejected" in last

    def row(self, record: Any) -> base.Row:
        question, last, field = turns.question(record)
        chosen, rejected = (
            turns.unwrapped(base.required(last, key, field), base.join(field, key))
            for key in ("chosen", "rejected")
        )
        return compared(question, chosen, rejected, base.join(field, "rejected"))

    def record(self, row: base.Row) -> list[dict[str, Any]]:
        replies = {"chosen": row["chosen"], "rejected": row["rejected"]}
        return turns.written(row["messages"], ("user", "assistant"), replies)


class DpoObjects(base.Format):
    key = "dpo"
    label = _("Chosen + rejected (public data)")
    description = _(
        "Objects with a question (prompt, messages, conversations, or instruction and input) and chosen and rejected: "
        "texts, messages, lists of messages, or whole conversations as one text (Human: …, Assistant: …)."
    )
    row_type = RowType.PREFERENCE
    sample = "dpo.json"
    columns = {
        "prompt": [{"role": "", "content": "", "weight": 0}],
        "chosen": [{"role": "", "content": ""}],
        "rejected": [{"role": "", "content": ""}],
    }
    cells = ("system", "prompt", "chosen", "rejected")

    def recognises(self, record: Any) -> bool:
        return isinstance(record, dict) and "chosen" in record and "rejected" in record

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        sides = {key: transcript(base.required(record, key)) for key in ("chosen", "rejected")}
        replies = {key: reply(value, key) for key, value in sides.items()}
        if start := _common_start(sides["chosen"], sides["rejected"]):
            question = _listed(start, "chosen").question("chosen")
        elif "messages" in record:
            question = messages.conversation(record).question("messages")
        elif "conversations" in record:
            question = sharegpt.conversation(record).question("conversations")
        elif "instruction" in record:
            question = alpaca.question(record).question("instruction")
        elif isinstance(sides["chosen"], list) and not any(record.get(key) for key in base.QUESTION_KEYS):
            raise base.RowError("rejected", "questions_differ")
        else:
            key = base.key_of(record, base.QUESTION_KEYS)
            question = asked(base.required(record, key), key, base.optional_text(record, "system"))
        return compared(question, replies["chosen"], replies["rejected"], "rejected")

    def record(self, row: base.Row) -> dict[str, Any]:
        """The form that TRL calls conversational preferences with an explicit prompt."""
        sides = {key: [{"role": "assistant", "content": row[key]}] for key in ("chosen", "rejected")}
        return {"prompt": row["messages"], **sides}

    def flat(self, row: base.Row) -> dict[str, Any]:
        system, said = base.divided(row["messages"])
        return {"system": system, "prompt": said[0]["content"]} | {
            key: row[key] for key in ("chosen", "rejected")
        }


_SPEAKER = re.compile(r"\n\n(Human|Assistant): ?")


def transcript(value: Any) -> Any:
    """The messages of a whole conversation that is written as one text, as in Anthropic's HH-RLHF; anything else as it
    is."""
    if not isinstance(value, str) or not value.startswith("\n\nHuman:"):
        return value
    roles = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": roles[speaker], "content": said.strip()}
        for speaker, said in transcripts.spoken(value, _SPEAKER)
    ]


def compared(question: list[base.Message], chosen: str, rejected: str, place: str) -> base.Row:
    """Returns the canonical row; raises RowError, at the `place` of the rejected reply, where both replies are the
    same, which teaches nothing."""
    if chosen == rejected:
        raise base.RowError(place, "same_replies")
    return {"messages": question, "chosen": chosen, "rejected": rejected}


def asked(value: Any, field: str, system: str) -> list[base.Message]:
    """A question as a text or as a list of messages, with the system text beside it; raises RowError."""
    if isinstance(value, list):
        return _listed(value, field).question(field)
    conversation = base.Conversation()
    if system:
        conversation.system(system, "system")
    conversation.user(value, field)
    return conversation.question(field)


def reply(value: Any, field: str) -> str:
    """A reply as a text: it may be a message, or a list of messages of which the last one is the reply."""
    if isinstance(value, list):
        if not value:
            raise base.RowError(field, "empty_list")
        field, value = f"{field}[{len(value) - 1}]", value[-1]
    if not isinstance(value, dict):
        return base.text(value, field)
    role_key, key = ("from", "value") if "from" in value else ("role", "content")
    role = base.required(value, role_key, field)
    if role not in ("assistant", *sharegpt.ASSISTANT, *sharegpt.CALL):
        raise base.RowError(base.join(field, role_key), "not_a_reply", role=str(role)[:40])
    return base.text(base.required(value, key, field), base.join(field, key))


def _listed(items: list[Any], field: str) -> base.Conversation:
    """A conversation from a bare list of messages, of either spelling."""
    if items and isinstance(items[0], dict) and "from" in items[0]:
        return sharegpt.conversation({"conversations": items})
    if not items:
        raise base.RowError(field, "empty_list")
    return messages.conversation({"messages": items})


def _common_start(chosen: Any, rejected: Any) -> list[Any]:
    """The question of two whole conversations that differ in their last message only; [] where they are none.

    It counts more than what else a record says: beside such conversations the prompt is often a part of the question,
    and messages are one of them once more.
    """
    if not (isinstance(chosen, list) and isinstance(rejected, list)) or chosen[:-1] != rejected[:-1]:
        return []
    first = chosen[0] if chosen and isinstance(chosen[0], dict) else {}
    starts_with_reply = first.get("role", first.get("from")) in ("assistant", *sharegpt.ASSISTANT)
    return [] if starts_with_reply else chosen[:-1]
