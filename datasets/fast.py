"""The common case at a fraction of the time: good rows of JSON lines, decoded straight into the types they must have.

Nothing is judged here. A line that is not plainly good, or that the decoder might read more kindly than the rules
do, gives None; datasets.reading and the formats then look at it and say what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from datasets.formats.base import MAX_TURNS
from datasets.hints import differ
from datasets.joined import Joined

Weight = Literal[0, 1] | None
Array = np.ndarray[Any, Any]


# Without `gc` the collector of cycles does not look at them, which halves the time: texts can be in no cycle.
class Said(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """A message, as in the format `messages` and in canonical rows."""

    role: Literal["system", "user", "assistant"]
    content: str
    weight: Weight = None


class Talk(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A canonical row of messages."""

    messages: list[Said]


class Turn(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    prompt: str
    response: str
    system: str | msgspec.UnsetType = msgspec.UNSET
    weight: Weight | msgspec.UnsetType = msgspec.UNSET


class Task(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    instruction: str
    output: str
    input: str | msgspec.UnsetType = msgspec.UNSET
    system: str | msgspec.UnsetType = msgspec.UNSET


class Line(msgspec.Struct, forbid_unknown_fields=True, gc=False, rename={"role": "from"}):
    role: Literal["system", "human", "gpt"]
    value: str


class Lines(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    conversations: list[Line]


class Ready(msgspec.Struct):
    """A good row: its canonical JSON line, its figures, and the line of the file that it comes from."""

    json: bytes
    turns: int
    characters: int
    mixes_languages: bool
    raw: bytes
    line: int
    end: int
    row: None = None

    @property
    def text(self) -> str:
        """The line of the file, for excerpts."""
        return self.raw.decode(errors="replace")


@dataclass(slots=True)
class ReadyBlock:
    """Good rows from lines that follow each other (datasets/blocks.py), as canonical `lines`. Replies, characters,
    language (an index of datasets.columns.LANGUAGES), and whether a question and its reply are in different languages,
    each a row. `raw` are the lines of the file, of which `line` is the first."""

    lines: Joined
    turns: Array
    characters: Array
    languages: Array
    mixes_languages: Array
    raw: bytes
    line: int
    end: int
    _raw_ends: Array | None = None

    def ready(self, number: int) -> Ready:
        """One row by itself, for a problem that names it."""
        if self._raw_ends is None:
            self._raw_ends = np.flatnonzero(np.frombuffer(self.raw, np.uint8) == ord("\n"))
        start = self._raw_ends[number - 1] + 1 if number else 0
        raw = self.raw[start : self._raw_ends[number]]
        turns, characters = int(self.turns[number]), int(self.characters[number])
        mixes = bool(self.mixes_languages[number])
        return Ready(self.lines[number], turns, characters, mixes, raw, self.line + number, self.end)


TURNS = msgspec.json.Decoder(list[Turn])
TALK = msgspec.json.Decoder(Talk)
TASK = msgspec.json.Decoder(Task)
LINES = msgspec.json.Decoder(Lines)
_encode = msgspec.json.Encoder().encode
ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "human": "user",
    "gpt": "assistant",
    "system": "system",
}


def _prompt_response(raw: bytes) -> list[Said] | None:
    turns = TURNS.decode(raw)
    # The decoder takes the last of a key that comes twice; a key that is counted once too often came twice.
    if raw.count(b'"prompt"') != len(turns) or raw.count(b'"response"') != len(turns):
        return None
    said: list[Said] = []
    for turn in turns:
        if turn.system:
            if said or raw.count(b'"system"') != 1:
                return None
            said.append(Said("system", turn.system))
        said.append(Said("user", turn.prompt))
        said.append(
            Said("assistant", turn.response, turn.weight if turn.weight is not msgspec.UNSET else None)
        )
        if turn.weight is not msgspec.UNSET and raw.count(b'"weight"') > len(turns):
            return None
    return said


def _messages(raw: bytes) -> list[Said] | None:
    said = TALK.decode(raw).messages
    if (
        raw.count(b'"role"') != len(said)
        or raw.count(b'"content"') != len(said)
        or raw.count(b'"messages"') != 1
    ):
        return None
    if b'"weight"' in raw and (
        raw.count(b'"weight"') > len(said)
        or any(one.weight is not None and one.role != "assistant" for one in said)
    ):
        return None
    return said


def _alpaca(raw: bytes) -> list[Said] | None:
    task = TASK.decode(raw)
    if any(raw.count(key) > 1 for key in (b'"instruction"', b'"input"', b'"output"', b'"system"')):
        return None
    return said_in(task)


def said_in(task: Task) -> list[Said]:
    parts = [part for part in (task.instruction, task.input) if part and not part.isspace()]
    said = [Said("user", "\n".join(parts)), Said("assistant", task.output)]
    return [Said("system", task.system), *said] if task.system else said


def _sharegpt(raw: bytes) -> list[Said] | None:
    lines = LINES.decode(raw).conversations
    if raw.count(b'"from"') != len(lines) or raw.count(b'"value"') != len(lines):
        return None
    return (
        [Said(ROLES[line.role], line.value) for line in lines] if raw.count(b'"conversations"') == 1 else None
    )


DECODERS: dict[str, Callable[[bytes], list[Said] | None]] = {
    "prompt_response": _prompt_response,
    "messages": _messages,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
}


def ready(decode: Callable[[bytes], list[Said] | None], raw: bytes, line: int, end: int) -> Ready | None:
    """Returns the row of a line of a file, or None where it needs a closer look."""
    try:
        said = decode(raw)
    except (ValueError, RecursionError):
        return None
    # As an escape a NUL can come in, and a key twice without being counted.
    if not said or b"\\u00" in raw or not alternate(said):
        return None
    replies = len(said) // 2
    try:
        json = _encode(Talk(said))
    except UnicodeEncodeError:
        return None
    characters = sum([len(one.content) for one in said])
    pairs = range(len(said) % 2, len(said), 2)
    mixes = any(differ(said[number].content, said[number + 1].content) for number in pairs)
    return Ready(json, replies, characters, mixes, raw, line, end)


def alternate(said: Sequence[Said]) -> bool:
    """True for texts that are not blank, in the order user, assistant after an optional system text."""
    start = said[0].role == "system"
    if (len(said) - start) % 2 or not start < len(said) <= 2 * MAX_TURNS:
        return False
    learned = False
    for number, one in enumerate(said, -start):
        if not one.content or one.content.isspace():
            return False
        if number >= 0 and one.role != ("assistant" if number % 2 else "user"):
            return False
        learned = learned or (number % 2 == 1 and one.weight != 0)
    return learned
