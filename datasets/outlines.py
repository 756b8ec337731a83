"""Lines of JSON read without decoding their texts, many at once.

Between the contents of their texts the lines of a file are alike: {"messages": [{"role": "user", "content": "…"}, …]}.
What is left of a line without them, its outline, is decoded and judged once for all lines that have it (plan_of). The
texts are found by their quotation marks and copied as the JSON that they are, into the canonical lines. That is as
long as they are written as canonical lines write them; other blocks are decoded first (datasets/blocks.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from datasets.fast import DECODERS, Talk, alternate

Array = np.ndarray[Any, Any]
_QUOTE, _SLASH, _NEWLINE, _COLON = b'"\\\n:'
# Stands in an outline for a text that is not empty: lines hold no such byte.
_TEXT = b"\x01"
# The names of these keys have as many letters: "role", "from". What they hold is part of the outline.
_ROLE_LETTERS = 4
# So many outlines a block may have; the lines of other files are decoded instead.
MAX_OUTLINES = 64
MAX_OUTLINE_BYTES = 64 * 1024
# Texts as they are decoded in place of those of the file: canonical lines write \u0001 so, and lines that hold
# an escape of this kind are not read here.
_STANDING = re.compile(rb"\\u0001(\d+)\\u0001")
_ONLY_STANDING = re.compile(r"\x01\d+\x01(?:\n\x01\d+\x01)*")
# What joins two texts to one message.
_JOINT = b"\\n"
_encode = msgspec.json.Encoder().encode


def _bytes(wanted: bytes) -> Array:
    """True at the numbers of these bytes."""
    table = np.zeros(256, bool)
    table[list(wanted)] = True
    return table


# What canonical lines have behind a backslash.
_ESCAPED = _bytes(b'"\\bfnrt')
# What a text of white space alone can begin with, and what comes then: another one, the rest of one, or the end.
_BLANK = _bytes(b" \\\xc2\xe1\xe2\xe3")
# The last of three bytes that are white space.
_BLANK_LAST = _bytes(b"\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x9f\xa8\xa9\xaf")
_BLANK_THEN = _BLANK | _bytes(b'"fnrt\x80\x81\x85\x9a\xa0')


class Otherwise(Exception):
    """The lines may be good, but are written in another way than they are read here."""


@dataclass(frozen=True, slots=True)
class Outlined:
    """Canonical lines, one after the other in `json` from `starts` on, and the messages in them: those of a line are
    `counts` from number `first` on. The content of a message lies from `begin` to `end`, with `escapes` backslashes
    that begin something."""

    json: bytes
    starts: Array
    turns: Array
    has_system: Array
    counts: Array
    first: Array
    begin: Array
    end: Array
    escapes: Array


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of the lines with an outline: a canonical line is `pieces` with the texts between them, which are
    in another `order` there. It has a last number, which stands for none, so that it is as long as `pieces`."""

    pieces: tuple[bytes, ...]
    order: tuple[int, ...]
    turns: int
    has_system: bool
    is_canonical: bool


@lru_cache(maxsize=4 * MAX_OUTLINES)
def plan_of(key: str, outline: bytes) -> Plan | None:
    """Judges an outline by the decoder of a format for single lines; None if a line with it needs a closer look."""
    around = outline.split(_TEXT)
    standing = [b"\\u0001%d\\u0001" % number for number in range(len(around) - 1)]
    line = b"".join(chain.from_iterable(zip(around, [*standing, b""], strict=True)))
    try:
        said = DECODERS[key](line)
    except (ValueError, RecursionError):
        return None
    if not said or not alternate(said) or not all(_ONLY_STANDING.fullmatch(one.content) for one in said):
        return None
    found = _STANDING.split(_encode(Talk(said)) + b"\n")
    pieces, order = tuple(found[::2]), tuple(map(int, found[1::2]))
    if sorted(order) != list(range(len(standing))):
        return None
    is_canonical = _TEXT.join(pieces) == outline
    return Plan(pieces, (*order, 0), len(said) // 2, said[0].role == "system", is_canonical)


def outlined(key: str, raw: bytes) -> Outlined | None:
    """The canonical lines of whole lines of a format; None if one of them needs a closer look. Raises Otherwise."""
    content = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(content < ord(" "))
    if (content[ends] != _NEWLINE).any():
        raise Otherwise
    places, escapes = _marks(content)
    if len(places) == 0 or (np.searchsorted(places, ends) % 2).any():
        return None
    opens, closes = places[::2], places[1::2]
    is_text = closes - opens > 1
    is_text[0] = False
    # A text follows a key and its colon, with a space at most.
    is_text[1:] &= (content[closes[:-1] + 1] == _COLON) & (opens[1:] - closes[:-1] <= 3)
    is_text[1:] &= closes[:-1] - opens[:-1] - 1 != _ROLE_LETTERS
    begin, end = opens[is_text] + 1, closes[is_text]
    if not len(begin) or _any_blank(content, begin, end):
        raise Otherwise
    starts = np.append(0, ends + 1)
    first = np.searchsorted(begin, starts)
    lines = _outlines(content, begin, end, starts, first).dictionary_encode()
    if len(lines.dictionary) > MAX_OUTLINES or lines.dictionary.nbytes > MAX_OUTLINE_BYTES:
        raise Otherwise
    plans = [plan_of(key, outline) for outline in lines.dictionary.to_pylist()]
    found = [plan for plan in plans if plan]
    if len(found) < len(plans):
        return None
    escaped = (escapes[1::2] - escapes[::2])[is_text]
    return _canonical(raw, starts, begin, end, escaped, first, found, lines.indices.to_numpy())


def _marks(content: Array) -> tuple[Array, Array]:
    """The quotation marks that are not part of a text, and how many backslashes that begin something stand before
    each. Raises Otherwise if something behind a backslash is not what canonical lines have there."""
    is_either = content == _QUOTE
    np.logical_or(is_either, content == _SLASH, out=is_either)
    places = np.flatnonzero(is_either)
    is_slash = content[places] == _SLASH
    if not is_slash.any():
        return places, np.zeros(len(places), np.int64)
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
        raise Otherwise
    is_mark = ~is_slash & ~inside
    return places[is_mark], np.cumsum(begins)[is_mark]


def _any_blank(content: Array, begin: Array, end: Array) -> bool:
    """True if a text is nothing but white space."""
    doubtful = np.flatnonzero(_BLANK[content[begin]] & _BLANK_THEN[content[begin + 1]])
    start = content[begin[doubtful]]
    doubtful = doubtful[(start < 0xE0) | _BLANK_LAST[content[begin[doubtful] + 2]]]
    return any(_is_blank(content[begin[at] - 1 : end[at] + 1].tobytes()) for at in doubtful)


def _is_blank(text: bytes) -> bool:
    try:
        return bool(msgspec.json.decode(text, type=str).isspace())
    except ValueError:
        # No text at all: the rules will say so.
        return True


def _binary(content: Any, bounds: Array) -> pa.BinaryArray:
    """The parts of a content between bounds."""
    buffers = [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(content)]
    return pa.Array.from_buffers(pa.binary(), len(bounds) - 1, buffers)


def _between(texts: int) -> pa.BooleanArray:
    """True for the parts that lie around so many texts, not for those in them."""
    is_around = np.zeros(2 * texts + 1, bool)
    is_around[::2] = True
    return pa.array(is_around)


def _outlines(content: Array, begin: Array, end: Array, starts: Array, first: Array) -> pa.BinaryArray:
    """The outlines of lines. `first` are the numbers of their first texts, and at last that of all texts."""
    marked = content.copy()
    marked[begin] = _TEXT[0]
    bounds = np.empty(2 * len(begin) + 2, np.int64)
    bounds[0], bounds[1:-1:2], bounds[2:-1:2], bounds[-1] = 0, begin + 1, end, len(content)
    left = _binary(marked, bounds).filter(_between(len(begin)))
    gone = np.append(0, np.cumsum(end - begin - 1))
    return _binary(left.buffers()[2], starts - gone[first])


def _canonical(
    raw: bytes,
    starts: Array,
    begin: Array,
    end: Array,
    escapes: Array,
    first: Array,
    plans: list[Plan],
    plan: Array,
) -> Outlined:
    """Puts the texts between the pieces of the lines' plans; `plan` are their numbers in `plans`."""
    texts, rows = np.arange(len(begin)), np.arange(len(plan))
    counts = np.diff(first)
    first = first[:-1]
    turns = np.array([one.turns for one in plans])[plan]
    has_system = np.array([one.has_system for one in plans])[plan]
    pieces = [piece for one in plans for piece in one.pieces]
    # The first piece of each line, and the piece before each text.
    leading = (np.cumsum([len(one.pieces) for one in plans]) - [len(one.pieces) for one in plans])[plan]
    row = np.repeat(rows, counts)
    before = leading[row] + texts - first[row]
    if not all(one.is_canonical for one in plans):
        bounds = np.empty(2 * len(texts) + 2 + len(pieces), np.int64)
        parts = 2 * len(texts) + 1
        bounds[0], bounds[1:parts:2], bounds[2:parts:2] = 0, begin, end
        bounds[parts:] = len(raw) + np.append(0, np.cumsum([len(piece) for piece in pieces]))
        source = first[row] + np.array([number for one in plans for number in one.order])[before]
        escapes = escapes[source]
        order = np.empty(2 * len(texts) + len(rows), np.int32)
        order[2 * texts + row] = parts + before
        order[2 * texts + row + 1] = 2 * source + 1
        order[2 * (first + counts) + rows] = parts + leading + counts
        taken = _binary(raw + b"".join(pieces), bounds).take(pa.array(order))
        _valid, offsets, data = taken.buffers()
        at = np.frombuffer(offsets, np.int32)
        raw = data.to_pybytes()
        starts = np.append(at[2 * first + rows], len(raw))
        begin, end = at[2 * texts + row + 1], at[2 * texts + row + 2]
    joint = np.array([piece == _JOINT for piece in pieces])[before]
    if joint.any():
        # Several texts are one message.
        leads = np.flatnonzero(~joint)
        escapes = np.add.reduceat(escapes + joint, leads)
        begin, end = begin[leads], end[np.append(leads[1:], len(texts)) - 1]
        counts = np.add.reduceat(~joint, first, dtype=np.int64)
        first = np.cumsum(counts) - counts
    return Outlined(raw, starts, turns, has_system, counts, first, begin, end, escapes)
