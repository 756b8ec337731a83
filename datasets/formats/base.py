"""The contract of a dataset format, and what the formats share.

A format turns one record of a file (decoded JSON, a line of a table) into one canonical row. What a row looks like
depends on its RowType alone:

    messages           {"messages": [{"role": "system" | "user" | "assistant", "content": "…", "weight": 0}, …]}
    image_caption      {"image": "images/<name>", "prompt": "…"}
    image_messages     {"image": "images/<name>", "messages": […]}
    preference         {"messages": […], "chosen": "…", "rejected": "…"}
    binary_preference  {"messages": […], "completion": "…", "label": true | false}
    ranked             {"messages": […], "responses": [{"content": "…", "score": 2}, …]}
    text               {"text": "…"}

A conversation has an optional system message, then user and assistant in turn, and ends with an assistant message.
A reply may be empty (the import warns of it); every other text has something in it.
`weight` stands only on assistant messages and only when given: 0 keeps the reply as context, but nothing is
learned from it. In image_messages the content of the first user message holds the mark <image> exactly once, and
no other message does. In the three types of preferences `messages` is the question: it ends with a user message.

A format gives `image` as the record refers to it: a path among the uploaded files, a data URL, or the bytes. The
import puts the stored picture (datasets/pictures.py) in its place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from django.utils.functional import Promise

from datasets.models import RowType
from datasets.problems import json_type

SAMPLES = Path(__file__).parent / "samples"

# What tables and public data call a question and its reply, besides Qianfan's prompt and response.
QUESTION_KEYS = ("prompt", "question", "query")
REPLY_KEYS = ("response", "completion", "answer")

# Qianfan's limit for a conversation. Further turns are cut and reported.
MAX_TURNS = 150

Message = dict[str, Any]
Row = dict[str, Any]


class RowError(Exception):
    """A record that cannot become a row: where in it, and which kind of datasets.problems.KINDS."""

    def __init__(self, field: str, kind: str, **params: Any) -> None:
        super().__init__(field, kind, params)
        self.field = field
        self.kind = kind
        self.params = params


class Format(ABC):
    """One way in which rows are written down."""

    key: ClassVar[str]
    label: ClassVar[Promise | str]
    # One sentence: what a record looks like.
    description: ClassVar[Promise | str]
    row_type: ClassVar[str] = RowType.MESSAGES
    # File name within samples/: shown as help and read by the tests.
    sample: ClassVar[str]
    # What rows may have that this format has no place for: keys of datasets.exporting.FEATURES.
    lacks: ClassVar[frozenset[str]] = frozenset()
    # The columns of its records in a Parquet file, as an example of each value; {}: records are lists.
    columns: ClassVar[dict[str, Any]] = {}
    # The columns of its CSV; (): a row does not fit into cells.
    cells: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def recognises(self, record: Any) -> bool:
        """True if the record has the marks of this format, right or wrong in detail."""

    @abstractmethod
    def row(self, record: Any) -> Row:
        """Returns the canonical row; raises RowError."""

    @abstractmethod
    def record(self, row: Row) -> Any:
        """Writes a canonical row down in this format: `row` reads exactly that row out of it again.

        What the format `lacks` is lost; datasets/exporting.py keeps such rows out.
        """

    def flat(self, row: Row) -> dict[str, Any]:
        """A row of one turn as a record that fits into the format's `cells`."""
        record: dict[str, Any] = self.record(row)
        return record

    def score(self, head: Sequence[Any]) -> float:
        """How sure this format is of a file, in [0, 1]: the share of its first records that it recognises."""
        return sum(map(self.recognises, head)) / len(head) if head else 0.0

    def sample_text(self) -> str:
        """The sample file as it is."""
        return (SAMPLES / self.sample).read_text(encoding="utf-8")


class Conversation:
    """Collects messages in order and checks the rules that every format shares."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        # Whether the last message came from a tool or calls one: its neighbours of the same role join it.
        self._open = False

    def system(self, content: Any, field: str) -> None:
        """Adds the system text; raises RowError if anything came before it."""
        if self.messages:
            raise RowError(field, "system_not_first")
        self.messages.append({"role": "system", "content": text(content, field)})

    def user(self, content: Any, field: str, tool: bool = False) -> None:
        """Adds what the user, or with `tool` a tool, says to the model."""
        self._add("user", text(content, field), field, tool)

    def assistant(self, content: Any, field: str, weight: int | None = None, tool: bool = False) -> None:
        """Adds a reply; with `tool` a call of a tool."""
        if not self.messages or self.messages[-1]["role"] == "system":
            raise RowError(field, "starts_with_reply")
        joined = self._add("assistant", text(content, field, may_be_empty=True), field, tool)
        last = self.messages[-1]
        if joined and (weight is not None or "weight" in last):
            # Of two joined messages the one to be learned decides; without a weight a reply is learned.
            last["weight"] = max(last.get("weight", 1), 1 if weight is None else weight)
        elif weight is not None:
            last["weight"] = weight

    def history(self, turns: Any) -> None:
        """Adds earlier turns, each a [question, answer] of the record's `history`; None is no turn. Raises RowError."""
        for number, turn in enumerate(expect([] if turns is None else turns, "array", "history")):
            field = f"history[{number}]"
            if len(expect(turn, "array", field)) != 2:
                raise RowError(field, "not_a_pair")
            self.user(turn[0], f"{field}[0]")
            self.assistant(turn[1], f"{field}[1]")

    def _add(self, role: str, content: str, field: str, tool: bool) -> bool:
        """Adds a message, or joins it to the last one; returns whether it was joined."""
        last = self.messages[-1] if self.messages else None
        joins = last is not None and last["role"] == role
        if last is None or not joins:
            self.messages.append({"role": role, "content": content})
        elif tool or self._open:
            last["content"] += "\n" + content
        else:
            raise RowError(field, "roles_alternate", role=role)
        self._open = tool
        return joins

    def row(self, field: str) -> Row:
        """Returns the canonical row of a conversation; raises RowError for one that teaches nothing."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            raise RowError(field, "unlabelled")
        replies = [message for message in self.messages if message["role"] == "assistant"]
        if all(message.get("weight", 1) == 0 for message in replies):
            raise RowError(field, "nothing_to_learn")
        return {"messages": self.messages}

    def question(self, field: str) -> list[Message]:
        """Returns the messages before the replies that are compared; raises RowError."""
        if not self.messages or self.messages[-1]["role"] != "user":
            raise RowError(field, "no_question")
        replies = sum(message["role"] == "assistant" for message in self.messages)
        if replies >= MAX_TURNS:
            # Cutting a question's start or end would change what the replies answer.
            raise RowError(field, "too_many_turns", turns=replies + 1, limit=MAX_TURNS)
        return self.messages


def divided(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    """The system text of a conversation, "" where there is none, and the messages after it."""
    if messages and messages[0]["role"] == "system":
        return messages[0]["content"], list(messages[1:])
    return "", list(messages)


def paired(messages: Sequence[Message]) -> list[tuple[Message, Message]]:
    """Each question with its reply; a question at the end that has none is left out."""
    return list(zip(messages[::2], messages[1::2], strict=False))


def turns(row: Row) -> int:
    """The number of replies in a canonical row; replies that are compared with each other count once."""
    replies = sum(message["role"] == "assistant" for message in row.get("messages", ()))
    return replies + ("chosen" in row or "completion" in row or "responses" in row)


def cut(row: Row) -> int:
    """Shortens a conversation to MAX_TURNS turns in place; returns how many it had."""
    had = turns(row)
    if had > MAX_TURNS:
        offset = 1 if row["messages"][0]["role"] == "system" else 0
        del row["messages"][offset + 2 * MAX_TURNS :]
    return had


def texts(row: Row) -> list[str]:
    """All that somebody wrote in a canonical row."""
    found = [message["content"] for message in row.get("messages", ())]
    found += [row[key] for key in ("prompt", "chosen", "rejected", "completion", "text") if key in row]
    found += [response["content"] for response in row.get("responses", ())]
    return found


def expect(value: Any, expected: str, field: str) -> Any:
    """Returns the value if it has the JSON type (a key of problems.TYPES); raises RowError otherwise."""
    found = json_type(value)
    if found != expected:
        raise RowError(field, "wrong_type", expected=expected, found=found)
    return value


def required(record: dict[str, Any], key: str, field: str = "") -> Any:
    """Returns record[key]; raises RowError if there is none, or null. `field` is the path of the record."""
    if record.get(key) is None:
        raise RowError(join(field, key), "missing")
    return record[key]


def key_of(record: dict[str, Any], keys: Sequence[str]) -> str:
    """The first of the keys that the record has a value for; the first of all where it has none."""
    return next((key for key in keys if record.get(key) is not None), keys[0])


def text(value: Any, field: str, may_be_empty: bool = False) -> str:
    """Returns a text, with something in it unless it `may_be_empty`; raises RowError."""
    content: str = expect(value, "string", field)
    if not content.strip() and not may_be_empty:
        raise RowError(field, "empty")
    if "\0" in content:
        raise RowError(field, "nul_character")
    return content


def optional_text(record: dict[str, Any], key: str, field: str = "") -> str:
    """Returns record[key], "" where it is absent, null or blank; raises RowError for anything but a text."""
    value = record.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    return text(value, join(field, key))


def weight(record: dict[str, Any], field: str = "") -> int | None:
    """Returns the weight of a turn, 0 or 1, or None where there is none; raises RowError."""
    value = record.get("weight")
    if value is None:
        return None
    if isinstance(value, bool) or value not in (0, 1):
        raise RowError(join(field, "weight"), "invalid_weight")
    return int(value)


def join(field: str, key: str) -> str:
    """The path of a key within the object at `field`."""
    return f"{field}.{key}" if field else key


# Keys that make a record something else than a conversation to learn by heart.
_PREFERENCES = ("chosen", "rejected", "label", "kto_tag", "score")
_PICTURES = ("images", "image", "videos", "audios")


def has_other_data(record: dict[str, Any]) -> str:
    """The first key of preference data or of pictures, "" where there is none."""
    for key in _PREFERENCES:
        # A label or score that is a text or number is somebody's category and does no harm.
        if key in record and (key not in ("label", "score") or isinstance(record[key], bool | list)):
            return key
    return next((key for key in _PICTURES if record.get(key)), "")


def refuse_other_data(record: dict[str, Any]) -> None:
    """Raises RowError for preference data and for rows with pictures: they have the same shape otherwise."""
    if key := has_other_data(record):
        if key in _PICTURES:
            raise RowError(key, "image_row")
        raise RowError(key, "preference_row", key=key)
