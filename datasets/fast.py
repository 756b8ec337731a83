"""The common case at a fraction of the time: good rows of JSON lines, decoded straight into the types they must have.

Nothing is judged here. A line that is not plainly good, or that the decoder might read more kindly than the rules
do, gives None; datasets.reading and the formats then look at it and say what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from datasets.formats.base import MAX_TURNS
from datasets.hints import JUDGED_CHARACTERS, LANGUAGE_CHARACTERS, differ

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


_TURNS = msgspec.json.Decoder(list[Turn])
_TALK = msgspec.json.Decoder(Talk)
_TASK = msgspec.json.Decoder(Task)
_LINES = msgspec.json.Decoder(Lines)
_encode = msgspec.json.Encoder().encode
_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "human": "user",
    "gpt": "assistant",
    "system": "system",
}


def _prompt_response(raw: bytes) -> list[Said] | None:
    turns = _TURNS.decode(raw)
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
    said = _TALK.decode(raw).messages
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
    task = _TASK.decode(raw)
    if any(raw.count(key) > 1 for key in (b'"instruction"', b'"input"', b'"output"', b'"system"')):
        return None
    return _said(task)


def _said(task: Task) -> list[Said]:
    parts = [part for part in (task.instruction, task.input) if part and not part.isspace()]
    said = [Said("user", "\n".join(parts)), Said("assistant", task.output)]
    return [Said("system", task.system), *said] if task.system else said


def _sharegpt(raw: bytes) -> list[Said] | None:
    lines = _LINES.decode(raw).conversations
    if raw.count(b'"from"') != len(lines) or raw.count(b'"value"') != len(lines):
        return None
    return (
        [Said(_ROLES[line.role], line.value) for line in lines]
        if raw.count(b'"conversations"') == 1
        else None
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
    if not said or b"\\u00" in raw or not _alternate(said):
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


def _alternate(said: Sequence[Said]) -> bool:
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


# --- Many lines at once --------------------------------------------------------------------------------------


@dataclass(slots=True)
class ReadyBlock:
    """Good rows from lines that follow each other: canonical JSON, replies, characters, and whether a question and its
    reply are in different languages, each a row. `raw` are the lines of the file, of which `line` is the first."""

    lines: list[bytes]
    turns: Array
    characters: Array
    mixes_languages: Array
    raw: bytes
    line: int
    end: int

    _raw_lines: list[bytes] = field(default_factory=list)

    def ready(self, number: int) -> Ready:
        """One row by itself, for a problem that names it."""
        self._raw_lines = self._raw_lines or self.raw.split(b"\n")
        raw = self._raw_lines[number]
        turns, characters = int(self.turns[number]), int(self.characters[number])
        mixes = bool(self.mixes_languages[number])
        return Ready(self.lines[number], turns, characters, mixes, raw, self.line + number, self.end)


@dataclass(frozen=True)
class Layout:
    """How a block of lines of one format is read. `talks` gives the conversations of what `decoder` found, and how many
    keys at least the lines have; `keys` counts those that they may have besides."""

    decoder: msgspec.json.Decoder[Any]
    talks: Callable[[list[Any]], tuple[list[Talk], int] | None]
    keys: Callable[[list[Any]], int]
    # What a line begins and ends with.
    ends: tuple[bytes, bytes]
    has_weights: bool = False


def _turns_block(rows: list[list[Turn]]) -> tuple[list[Talk], int] | None:
    talks, keys = [], 0
    for turns in rows:
        keys += 2 * len(turns)
        said: list[Said] = []
        for turn in turns:
            if turn.system:
                if said:
                    return None
                said.append(Said("system", turn.system))
            said.append(Said("user", turn.prompt))
            weight = None if turn.weight is msgspec.UNSET else turn.weight
            said.append(Said("assistant", turn.response, weight))
        talks.append(Talk(said))
    return talks, keys


def _turn_keys(rows: list[list[Turn]]) -> int:
    found = 0
    for turn in chain.from_iterable(rows):
        found += (turn.system is not msgspec.UNSET) + (turn.weight is not msgspec.UNSET)
    return found


def _talks_block(rows: list[Talk]) -> tuple[list[Talk], int]:
    return rows, len(rows) + 2 * sum([len(talk.messages) for talk in rows])


def _weights(rows: list[Talk]) -> int:
    # A weight that is null is not counted, and the line is read by itself.
    return sum([one.weight is not None for talk in rows for one in talk.messages])


def _tasks_block(rows: list[Task]) -> tuple[list[Talk], int]:
    return [Talk(_said(task)) for task in rows], 2 * len(rows)


def _task_keys(rows: list[Task]) -> int:
    found = 0
    for task in rows:
        found += (task.input is not msgspec.UNSET) + (task.system is not msgspec.UNSET)
    return found


def _lines_block(rows: list[Lines]) -> tuple[list[Talk], int]:
    talks = [Talk([Said(_ROLES[line.role], line.value) for line in row.conversations]) for row in rows]
    return talks, len(rows) + 2 * sum([len(row.conversations) for row in rows])


LAYOUTS = {
    "prompt_response": Layout(_TURNS, _turns_block, _turn_keys, (b"[", b"]"), True),
    "messages": Layout(_TALK, _talks_block, _weights, (b"{", b"}"), True),
    "alpaca": Layout(_TASK, _tasks_block, _task_keys, (b"{", b"}")),
    "sharegpt": Layout(_LINES, _lines_block, lambda rows: 0, (b"{", b"}")),
}


def ready_block(key: str, raw: bytes, line: int, end: int) -> ReadyBlock | None:
    """The rows of whole lines of a format of LAYOUTS, or None where one of them needs a closer look."""
    layout = LAYOUTS[key]
    if not raw.endswith(b"\n"):
        raw += b"\n"
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    start, stop = layout.ends
    try:
        rows = layout.decoder.decode_lines(raw)
    except (ValueError, RecursionError):
        return None
    content = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(content == ord("\n"))
    # The decoder takes any white space between values: each line must be one value.
    if len(ends) != len(rows) or not raw.startswith(start):
        return None
    if (content[ends - 1] != ord(stop)).any() or (content[ends[:-1] + 1] != ord(start)).any():
        return None
    made = layout.talks(rows)
    if made is None:
        return None
    talks, least = made
    # It also takes the last of a key that comes twice: there must be no more keys than it found.
    present = _keys(raw, content)
    if present != least and (present is None or present != least + layout.keys(rows)):
        return None
    try:
        lines = list(map(_encode, talks))
    except UnicodeEncodeError:
        return None
    figures = _figures(talks, layout.has_weights and present != least)
    return figures and ReadyBlock(lines, *figures, raw, line, end)


def _keys(raw: bytes, content: Array) -> int | None:
    """The number of keys in JSON whose keys end in no backslash; None where white space may stand behind a key."""
    quotes = np.flatnonzero(content[:-1] == ord('"'))
    quotes = quotes[(quotes > 0) & (content[quotes - 1] != ord("\\"))]
    following = content[quotes + 1]
    for at in quotes[following <= ord(" ")].tolist():
        # Most are the begin of a text that starts with white space.
        if raw[at + 1 : at + 10].lstrip()[:1] in (b":", b""):
            return None
    return int(np.count_nonzero(following == ord(":")))


def _figures(talks: list[Talk], weighted: bool) -> tuple[Array, Array, Array] | None:
    """Replies, characters and mixed languages of each conversation; None if one is not plainly good."""
    conversations = [talk.messages for talk in talks]
    counts = np.fromiter(map(len, conversations), np.int64, len(conversations))
    said = list(chain.from_iterable(conversations))
    contents = [one.content for one in said]
    if not all(contents) or any(map(str.isspace, contents)) or any("\0" in text for text in contents):
        return None
    if not counts.all():
        return None
    if weighted and not all(map(_is_learned, conversations)):
        return None
    is_reply = np.fromiter([one.role == "assistant" for one in said], bool, len(said))
    first = np.cumsum(counts) - counts
    roles = [said[at].role == "system" for at in first]
    start = np.array(roles, np.int64)
    if sum([one.role == "system" for one in said]) != start.sum():
        return None
    pairs = counts - start
    if (pairs % 2).any() or not pairs.all() or counts.max() > 2 * MAX_TURNS:
        return None
    place = np.arange(len(said)) - np.repeat(first + start, counts)
    if (is_reply != ((place & 1) == 1) & (place >= 0)).any():
        return None
    lengths = np.fromiter(map(len, contents), np.int64, len(contents))
    characters = np.add.reduceat(lengths, first)
    mixes = np.zeros(len(talks), bool)
    if not all(map(str.isascii, contents)):
        questions = np.flatnonzero((place >= 0) & ~is_reply)
        differing = questions[_differ(contents, lengths, questions)]
        mixes[np.searchsorted(first, differing, "right") - 1] = True
    return pairs // 2, characters, mixes


def _is_learned(said: list[Said]) -> bool:
    """True if there is a reply to learn, and no weight where none belongs."""
    replies = [one for one in said if one.role == "assistant"]
    return any(one.weight != 0 for one in replies) and all(
        one.weight is None or one.role == "assistant" for one in said
    )


def _differ(contents: list[str], lengths: Array, questions: Array) -> Array:
    """datasets.hints.differ for many questions, each followed by its reply."""
    texts = pa.array(contents, pa.large_string())
    _valid, offsets, data = texts.buffers()
    at = np.frombuffer(offsets, np.int64, len(contents) + 1)
    size, length = np.diff(at), lengths.copy()
    for number in np.flatnonzero((lengths > JUDGED_CHARACTERS) & (size > lengths)):
        size[number] = len(contents[number][:JUDGED_CHARACTERS].encode())
        length[number] = JUDGED_CHARACTERS
    share = (size - length) / (2 * length)
    script = np.where(share < 0.05, 1, np.where(share > 0.4, 2, 0))
    # Short texts, calls of tools and their results are in nobody's language.
    script[(length < LANGUAGE_CHARACTERS) | (np.frombuffer(data, np.uint8)[at[:-1]] == ord("<"))] = 0
    asked, answered = script[questions], script[questions + 1]
    differing: Array = (asked != answered) & (asked > 0) & (answered > 0)
    return differing
