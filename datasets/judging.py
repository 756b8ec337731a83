"""Conversations judged by the bytes of their canonical lines, many at once, without decoding their texts.

Between quotation marks a canonical line is always the same: {"messages":[{"role":"user","content":"…"},…]}, with
,"weight":0 after some texts. So the marks that are not part of a text tell where each role and each text lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from datasets.columns import Counted, is_han, language_of
from datasets.fast import Talk
from datasets.formats.base import MAX_TURNS
from datasets.hints import JUDGED_CHARACTERS, LANGUAGE_CHARACTERS
from datasets.joined import Joined

Array = np.ndarray[Any, Any]
_QUOTE, _SLASH = ord('"'), ord("\\")
# Quotation marks of a message without a weight, and which of them begin and end the role, the word content, the text.
_MARKS, _ROLE, _ROLE_END, _KEY_END, _TEXT, _TEXT_END = 8, 2, 3, 5, 6, 7
_USER, _SYSTEM, _ASSISTANT = (len(role) for role in ("user", "system", "assistant"))


def _bytes(wanted: bytes) -> Array:
    """True at the numbers of these bytes."""
    table = np.zeros(256, bool)
    table[list(wanted)] = True
    return table


# What canonical lines have behind a backslash.
_ESCAPED = _bytes(b'"\\bfnrt')
# What a text of white space alone can begin with, and what comes then: another one, the rest of one, or the end.
_BLANK = _bytes(b" \\\xc2\xe1\xe2\xe3")
_BLANK_THEN = _BLANK | _bytes(b'"fnrt\x80\x81\x85\x9a\xa0')


@dataclass(slots=True)
class Marks:
    """The quotation marks that are not part of a text: places, and how many backslashes that begin something stand
    before each. `quotes` counts all quotation marks, also those in texts."""

    places: Array
    escapes: Array
    quotes: int


def marks_of(json: bytes) -> Marks | None:
    """The marks in lines whose texts may be any valid JSON; None if a text is written in another way than canonical
    lines write it, or holds rare control characters."""
    content = np.frombuffer(json, np.uint8)
    is_either = content == _QUOTE
    np.logical_or(is_either, content == _SLASH, out=is_either)
    places = np.flatnonzero(is_either)
    is_slash = content[places] == _SLASH
    if not is_slash.any():
        return Marks(places, np.zeros(len(places), np.int64), len(places))
    follows = np.zeros(len(places), bool)
    follows[1:] = is_slash[:-1] & (places[1:] == places[:-1] + 1)
    begins, inside = is_slash, follows
    if (follows & is_slash).any():
        # Of backslashes in a row the first, third, … begin something.
        numbers = np.arange(len(places))
        begins = is_slash & ((numbers - np.maximum.accumulate(np.where(follows, 0, numbers))) % 2 == 0)
        inside = follows.copy()
        inside[1:] &= begins[:-1]
    if not _ESCAPED[content[places[begins] + 1]].all():
        return None
    at = np.flatnonzero(~is_slash & ~inside)
    return Marks(places[at], np.cumsum(begins)[at], int(len(places) - np.count_nonzero(is_slash)))


def judged(
    json: bytes, talks: list[Talk[Any]], marks: Marks
) -> tuple[Joined, Array, Array, Array, Array] | None:
    """The lines, and replies, characters, language and mixed languages of each; None if one is not plainly good."""
    content = np.frombuffer(json, np.uint8)
    counts = np.fromiter([len(talk.messages) for talk in talks], np.int64, len(talks))
    if not counts.all() or counts.max() > 2 * MAX_TURNS or not _is_utf8(json):
        return None
    first = np.cumsum(counts) - counts
    texts = int(counts.sum())
    row = np.repeat(np.arange(len(talks)), counts)
    start = 2 * (row + 1) + _MARKS * np.arange(texts)
    if len(marks.places) != 2 * len(talks) + _MARKS * texts:
        if not all(map(_is_learned, talks)):
            return None
        weights = 2 * np.fromiter(
            (one.weight is not None for talk in talks for one in talk.messages), np.int64
        )
        if len(marks.places) != 2 * len(talks) + _MARKS * texts + weights.sum():
            return None
        start += np.cumsum(weights) - weights
    places = marks.places
    begin, end = places[start + _TEXT], places[start + _TEXT_END]
    # Other values than texts do not begin right behind the colon with a quotation mark.
    if (begin - places[start + _KEY_END] != 2).any() or (end - begin < 2).any():
        return None
    doubtful = np.flatnonzero(_BLANK[content[begin + 1]] & _BLANK_THEN[content[begin + 2]])
    if any(_is_blank(json[begin[at] : end[at] + 1]) for at in doubtful):
        return None
    turns = _turns(places[start + _ROLE_END] - places[start + _ROLE] - 1, counts, first)
    if turns is None:
        return None
    sizes = end - begin - 1 - (marks.escapes[start + _TEXT_END] - marks.escapes[start + _TEXT])
    # A line begins one byte before its first mark.
    lines = Joined(json, np.append(places[start[first] - 2] - 1, len(json)))
    if json.isascii():
        characters = np.add.reduceat(sizes, first)
        nothing = np.zeros(len(talks), np.int64)
        return lines, turns, characters, language_of(nothing, nothing, characters), np.zeros(len(talks), bool)
    # In UTF-8 all bytes of a character but the first are from 80 to BF.
    further = Counted(np.frombuffer(json, np.int8) < 0xC0 - 256)
    lengths = sizes - (further.before(end) - further.before(begin))
    characters = np.add.reduceat(lengths, first)
    han = np.diff(Counted(is_han(content)).before(lines.starts))
    language = language_of(np.diff(further.before(lines.starts)), han, characters)
    replies = np.flatnonzero(places[start + _ROLE_END] - places[start + _ROLE] - 1 == _ASSISTANT)
    differing = replies[_differ(json, begin, end, sizes, lengths, replies)]
    mixes = np.zeros(len(talks), bool)
    mixes[row[differing]] = True
    return lines, turns, characters, language, mixes


def _is_utf8(json: bytes) -> bool:
    offsets = pa.py_buffer(np.array([0, len(json)], np.int64))
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(json)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _is_blank(text: bytes) -> bool:
    """True for a text, in its quotation marks, of nothing but white space."""
    return bool(msgspec.json.decode(text, type=str).isspace())


def _turns(roles: Array, counts: Array, first: Array) -> Array | None:
    """Replies of each conversation, by the lengths of the names of the roles; None for one in another order than user,
    assistant after an optional system text."""
    has_system = roles[first] == _SYSTEM
    pairs = counts - has_system
    if (pairs % 2).any() or not pairs.all():
        return None
    place = np.arange(len(roles)) - np.repeat(first + has_system, counts)
    wanted = np.where(place < 0, _SYSTEM, np.where(place % 2 == 0, _USER, _ASSISTANT))
    return pairs // 2 if (roles == wanted).all() else None


def _is_learned(talk: Talk[Any]) -> bool:
    """True if there is a reply to learn, and no weight where none belongs."""
    replies = [one for one in talk.messages if one.role == "assistant"]
    return any(one.weight != 0 for one in replies) and all(
        one.weight is None or one.role == "assistant" for one in talk.messages
    )


def _differ(json: bytes, begin: Array, end: Array, sizes: Array, lengths: Array, replies: Array) -> Array:
    """datasets.hints.differ for many replies, each with the text before it. `sizes` are bytes of the texts, `lengths`
    characters; they lie between the marks at `begin` and `end`."""
    sizes, lengths = sizes.copy(), lengths.copy()
    for number in np.flatnonzero((lengths > JUDGED_CHARACTERS) & (sizes > lengths)):
        text = msgspec.json.decode(json[begin[number] : end[number] + 1], type=str)
        sizes[number] = len(text[:JUDGED_CHARACTERS].encode())
        lengths[number] = JUDGED_CHARACTERS
    share = (sizes - lengths) / (2 * lengths)
    script = np.where(share < 0.05, 1, np.where(share > 0.4, 2, 0))
    # Short texts, calls of tools and their results are in nobody's language.
    is_call = np.frombuffer(json, np.uint8)[begin + 1] == ord("<")
    script[(lengths < LANGUAGE_CHARACTERS) | is_call] = 0
    asked, answered = script[replies - 1], script[replies]
    differing: Array = (asked != answered) & (asked > 0) & (answered > 0)
    return differing
