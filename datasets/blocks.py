"""Good rows of JSON lines, many at once: a block of lines, or nothing where one of them needs a closer look.

Most texts are never decoded (datasets/outlines.py). Lines that are written in another way, as with \\uXXXX for all that
is not ASCII, are decoded and written anew before they are judged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from datasets.fast import LINES, ROLES, TALK, TASK, TURNS, Lines, ReadyBlock, Said, Talk, Task, Turn, said_in
from datasets.judging import judged
from datasets.outlines import Otherwise, Outlined, outlined

Talks = list[Talk]


@dataclass(frozen=True)
class Layout:
    """How a block of lines of one format is decoded. `talks` gives the conversations of what the decoder found, and
    how many quotation marks more those have as canonical lines."""

    decoder: msgspec.json.Decoder[Any]
    talks: Callable[[list[Any]], tuple[Talks, int] | None]
    # What a line begins and ends with.
    ends: tuple[bytes, bytes] = (b"{", b"}")


_encode_lines = msgspec.json.Encoder().encode_lines


def _turns_block(rows: list[list[Turn]]) -> tuple[Talks, int] | None:
    talks, more = [], 2 * len(rows)
    for turns in rows:
        more += 8 * len(turns)
        said: list[Said] = []
        for turn in turns:
            system, weight = turn.system, turn.weight
            if system is not msgspec.UNSET:
                if system == "":
                    more -= 4
                elif said:
                    return None
                else:
                    said.append(Said("system", system))
                    more += 4
            if weight is msgspec.UNSET:
                weight = None
            elif weight is None:
                more -= 2
            said.append(Said("user", turn.prompt))
            said.append(Said("assistant", turn.response, weight))
        talks.append(Talk(said))
    return talks, more


def _tasks_block(rows: list[Task]) -> tuple[Talks, int]:
    more = 10 * len(rows)
    for task in rows:
        more -= 4 * (task.input is not msgspec.UNSET)
        if task.system is not msgspec.UNSET:
            more += 4 if task.system else -4
    return [Talk(said_in(task)) for task in rows], more


def _lines_block(rows: list[Lines]) -> tuple[Talks, int]:
    talks: Talks = [Talk([Said(ROLES[line.role], line.value) for line in row.conversations]) for row in rows]
    # "messages" for "conversations"; "role" and "content" for "from" and "value".
    return talks, 0


LAYOUTS = {
    "prompt_response": Layout(TURNS, _turns_block, (b"[", b"]")),
    "messages": Layout(TALK, lambda rows: (rows, 0)),
    "alpaca": Layout(TASK, _tasks_block),
    "sharegpt": Layout(LINES, _lines_block),
}


def ready_block(key: str, raw: bytes, line: int, end: int) -> ReadyBlock | None:
    """The rows of whole lines of a format of LAYOUTS, or None where one of them needs a closer look."""
    if not raw.endswith(b"\n"):
        raw += b"\n"
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    try:
        found = outlined(key, raw)
    except Otherwise:
        found = _written_anew(LAYOUTS[key], raw)
    judgement = judged(found) if found else None
    return ReadyBlock(*judgement, raw, line, end) if judgement else None


def _written_anew(layout: Layout, raw: bytes) -> Outlined | None:
    """The canonical lines of lines that have to be decoded for that."""
    try:
        rows = layout.decoder.decode_lines(raw)
        if not _are_lines(raw, len(rows), layout.ends) or not (made := layout.talks(rows)):
            return None
        talks, more = made
        json = _encode_lines(talks)
        # The decoder takes the last of a key that comes twice; then some quotation marks of the file are missing. Those
        # inside of texts stay as many, unless they are written as numbers.
        if _quotes(json) != _quotes(raw) + more or b"\\u0022" in raw:
            return None
        return outlined("messages", json)
    except (ValueError, RecursionError, Otherwise):
        return None


def _quotes(raw: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(raw, np.uint8) == ord('"')))


def _are_lines(raw: bytes, rows: int, ends: tuple[bytes, bytes]) -> bool:
    """True if each value is a line of its own; the decoder takes any white space between values."""
    content = np.frombuffer(raw, np.uint8)
    at = np.flatnonzero(content == ord("\n"))
    start, stop = map(ord, ends)
    return bool(
        len(at) == rows > 0
        and content[0] == start
        and (content[at - 1] == stop).all()
        and (content[at[:-1] + 1] == start).all()
    )
