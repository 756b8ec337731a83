"""Looks for a text or a regular expression in the log of a run, a second at a time, in constant memory.

As with the rows of a dataset (datasets/browsing.py) the matching is RE2's, through Arrow: no expression can hang a web
process, and a look says how far it came, so that the next one goes on from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from datasets.browsing import Query, pieces

# How long a look takes before it says how far it came.
SECONDS = 1.0
# What is read and searched between two looks at the clock. A longer line is searched in parts of this size.
BLOCK_BYTES = 1024 * 1024
HITS_A_PAGE = 100
# Characters of a long line that are shown, and of them before its first match.
EXCERPT, BEFORE_MATCH = 400, 100


@dataclass(frozen=True)
class LogHit:
    """A line that fits: the byte at which it begins, how far into the file that is in percent, and its text in
    pieces, each with whether it is a match; long lines are cut to the surroundings of their first match."""

    offset: int
    percent: int
    pieces: list[tuple[str, bool]]


@dataclass(frozen=True)
class LogHits:
    """What one look found. Bytes `start` to `end` of `size` were looked at; `is_cut` says that time was up, or that
    there are enough hits, before the end of the file."""

    hits: list[LogHit]
    start: int
    end: int
    size: int

    @property
    def is_cut(self) -> bool:
        return self.end < self.size

    @property
    def percent(self) -> int:
        return 100 * self.end // self.size if self.size else 100


def search(
    path: Path, query: Query, start: int = 0, *, limit: int = HITS_A_PAGE, seconds: float | None = None
) -> LogHits:
    """The first `limit` lines that fit from byte `start` on; `seconds` (default SECONDS) is the time for it.

    One block is looked through in any case. A file that does not exist (yet) is empty.
    """
    until = time.monotonic() + (SECONDS if seconds is None else seconds)
    hits: list[LogHit] = []
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return LogHits([], 0, 0, 0)
    with file:
        size = path.stat().st_size
        end = start = min(start, size)
        file.seek(start)
        while end < size and len(hits) < limit:
            block = _whole_lines(file.read(min(BLOCK_BYTES, size - end)), is_last=size - end <= BLOCK_BYTES)
            file.seek(end + len(block))
            found = _fitting(block, query)
            for begin, line in found[: limit - len(hits)]:
                hits.append(LogHit(end + begin, 100 * (end + begin) // size, _excerpt(line, query)))
            if len(hits) == limit and len(found) > 0:
                # The next look begins behind the line that was found last.
                end = hits[-1].offset + _line_length(block, hits[-1].offset - end)
                break
            end += len(block)
            if time.monotonic() > until:
                break
    return LogHits(hits, start, end, size)


def _whole_lines(block: bytes, is_last: bool) -> bytes:
    """The block up to its last line end; all of it at the end of the file, or where a single line is longer."""
    return block if is_last else block[: block.rfind(b"\n") + 1] or block


def _fitting(block: bytes, query: Query) -> list[tuple[int, str]]:
    """The lines of a block that fit, each with its place in bytes. Progress bars end their lines with CR alone."""
    block = block.replace(b"\r", b"\n")
    lines: Any = pc.split_pattern(pa.scalar(block.decode(errors="replace")), "\n").values
    fits = pc.indices_nonzero(pc.match_substring_regex(lines, query.expression))
    if not len(fits):
        return []
    places = list(accumulate((len(line) + 1 for line in block.split(b"\n")), initial=0))
    found = zip(fits.to_pylist(), lines.take(fits).to_pylist(), strict=True)
    # What stands behind the last line end is no line.
    return [(places[number], line) for number, line in found if places[number] < len(block)]


def _line_length(block: bytes, begin: int) -> int:
    """Bytes of the line that begins at `begin`, its end included."""
    rest = block[begin:].replace(b"\r", b"\n")
    return rest.find(b"\n") + 1 or len(rest)


def _excerpt(line: str, query: Query) -> list[tuple[str, bool]]:
    found = pieces(line, query)
    if len(line) <= EXCERPT:
        return found
    first = len(found[0][0]) if found and not found[0][1] else 0
    begin = max(0, min(first - BEFORE_MATCH, len(line) - EXCERPT))
    shown = pieces(line[begin : begin + EXCERPT], query)
    return [
        *([("…", False)] if begin else []),
        *shown,
        *([("…", False)] if begin + EXCERPT < len(line) else []),
    ]
