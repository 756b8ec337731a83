"""Conversations judged by the bytes of their canonical lines, many at once, without decoding their texts."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from datasets.columns import HAN_SHARE, LATIN_SHARE, Counted, is_han, language_of
from datasets.hints import JUDGED_CHARACTERS, LANGUAGE_CHARACTERS
from datasets.joined import Joined
from datasets.outlines import Outlined

Array = np.ndarray[Any, Any]


def judged(found: Outlined) -> tuple[Joined, Array, Array, Array, Array] | None:
    """The lines, and replies, characters, language and mixed languages of each; None if they are no UTF-8."""
    json, first = found.json, found.first
    lines = Joined(json, found.starts)
    sizes = found.end - found.begin - found.escapes
    if json.isascii():
        characters = np.add.reduceat(sizes, first)
        nothing = np.zeros(len(lines), np.int64)
        language = language_of(nothing, nothing, characters)
        return lines, found.turns, characters, language, np.zeros(len(lines), bool)
    if not _is_utf8(json):
        return None
    # In UTF-8 all bytes of a character but the first are from 80 to BF.
    further = Counted(np.frombuffer(json, np.int8) < 0xC0 - 256)
    lengths = sizes - (further.before(found.end) - further.before(found.begin))
    characters = np.add.reduceat(lengths, first)
    han = np.diff(Counted(is_han(np.frombuffer(json, np.uint8))).before(found.starts))
    language = language_of(np.diff(further.before(found.starts)), han, characters)
    row = np.repeat(np.arange(len(lines)), found.counts)
    # A question comes first, behind an optional system text.
    place = np.arange(len(row)) - (first + found.has_system)[row]
    replies = np.flatnonzero((place >= 0) & (place % 2 == 1))
    differing = replies[_differ(found, sizes, lengths, replies)]
    mixes = np.zeros(len(lines), bool)
    mixes[row[differing]] = True
    return lines, found.turns, characters, language, mixes


def _is_utf8(json: bytes) -> bool:
    offsets = pa.py_buffer(np.array([0, len(json)], np.int64))
    text = pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(json)])
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _differ(found: Outlined, sizes: Array, lengths: Array, replies: Array) -> Array:
    """datasets.hints.differ for many replies, each with the text before it. `sizes` are bytes of the texts, `lengths`
    characters."""
    sizes, lengths = sizes.copy(), lengths.copy()
    # Where all of a long text has that few characters outside ASCII, its start has no more.
    is_long = (lengths > JUDGED_CHARACTERS) & (sizes - lengths >= LATIN_SHARE * 2 * JUDGED_CHARACTERS)
    for number in np.flatnonzero(is_long):
        quoted = found.json[found.begin[number] - 1 : found.end[number] + 1]
        text = msgspec.json.decode(quoted, type=str)
        sizes[number] = len(text[:JUDGED_CHARACTERS].encode())
        lengths[number] = JUDGED_CHARACTERS
    share = (sizes - lengths) / (2 * lengths)
    script = np.where(share < LATIN_SHARE, 1, np.where(share > HAN_SHARE, 2, 0))
    # Short texts, calls of tools and their results are in nobody's language.
    is_call = np.frombuffer(found.json, np.uint8)[found.begin] == ord("<")
    script[(lengths < LANGUAGE_CHARACTERS) | is_call] = 0
    asked, answered = script[replies - 1], script[replies]
    differing: Array = (asked != answered) & (asked > 0) & (answered > 0)
    return differing
