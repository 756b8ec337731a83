"""Looks through the rows of a version: filters by their figures, searches in their texts.

The figures of a row stand in small columns of their own, so that a filter reads little; texts are read only where the
figures fit. A look takes a fixed time at most: it says how far it came, and the next one goes on from there.

All texts are matched by RE2 (through Arrow), which takes time linear in the text for every expression: an expression
that a person types cannot hang a worker, as Python's could.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from django.core.cache import cache
from pyarrow import parquet

from datasets.columns import FLAG_BITS, LANGUAGES, groups, open_columns
from datasets.models import DatasetVersion

# How long a look takes before it says how far it came.
SECONDS = 1.0
# Rows that are decoded and searched between two looks at the clock: about 8 MB of usual conversations.
BATCH_ROWS = 8192
# Between the texts of a row. `.` does not match a line end, so that no match reaches from one text into the next.
_BETWEEN = "\n\0\n"
# Whatever the case; ^ and $ mean a line.
_MODE = "(?im)"
# Texts hold no NUL character: the import refuses them.
_MARK = "\0"


class _Content(msgspec.Struct):
    content: str


class _Texts(msgspec.Struct):
    """The texts of a canonical row of any kind."""

    messages: list[_Content] = []
    prompt: str = ""
    text: str = ""
    chosen: str = ""
    rejected: str = ""
    completion: str = ""
    responses: list[_Content] = []

    def joined(self) -> str:
        single = (self.prompt, self.text, self.chosen, self.rejected, self.completion)
        several = (item.content for item in (*self.messages, *self.responses))
        return _BETWEEN.join((*several, *filter(None, single)))


_texts = msgspec.json.Decoder(_Texts)


@dataclass(frozen=True)
class Span:
    """From `least` to `most`, both inclusive; None is open."""

    least: int | None = None
    most: int | None = None


@dataclass(frozen=True)
class Query:
    """What rows are looked for; the empty query fits every row. `text` is found whatever its case, and is a regular
    expression if `is_pattern`, whose ^ and $ mean a line. `language` is one of LANGUAGES, `flag` one of ROW_FLAGS."""

    text: str = ""
    is_pattern: bool = False
    turns: Span = field(default_factory=Span)
    characters: Span = field(default_factory=Span)
    language: str = ""
    flag: str = ""
    file: str = ""

    @property
    def expression(self) -> str:
        """The RE2 expression of `text`."""
        return _MODE + (self.text if self.is_pattern else re.escape(self.text))

    @property
    def columns(self) -> list[str]:
        """The columns of figures that it asks for."""
        asked = {
            "turns": self.turns != Span(),
            "characters": self.characters != Span(),
            "language": bool(self.language),
            "flags": bool(self.flag),
            "file": bool(self.file),
        }
        return [name for name, is_asked in asked.items() if is_asked]


class BadPattern(ValueError):
    """The text is no regular expression that RE2 knows."""


def check_pattern(query: Query) -> None:
    """Raises BadPattern with RE2's own words."""
    try:
        pc.match_substring_regex(pa.scalar(""), query.expression)
    except pa.ArrowInvalid as error:
        reason = str(error).partition("expression: ")[2] or str(error)
        raise BadPattern(reason.replace(_MODE, "")) from error


@dataclass(frozen=True)
class Hit:
    """A row that fits: its number from 1, its canonical JSON line, and where it was read: the name of its file
    ("" if unknown), and its place in it as datasets.columns has it."""

    number: int
    line: bytes
    file: str = ""
    place: int = 0


@dataclass(frozen=True)
class Hits:
    """What one look found, in the order of the version. Rows `first` to `last` were looked at (none if last < first);
    `is_cut` says that time was up before there were enough hits."""

    hits: list[Hit]
    first: int
    last: int
    is_cut: bool


def find(
    version: DatasetVersion,
    query: Query,
    start: int,
    *,
    backwards: bool = False,
    limit: int,
    seconds: float | None = None,
) -> Hits:
    """The first `limit` rows that fit from row `start` on; backwards: the last ones up to row `start`.

    At least one batch is looked through, whatever `seconds` (default SECONDS) says. Raises FileNotFoundError if the
    storage has lost the rows.
    """
    until = time.monotonic() + (SECONDS if seconds is None else seconds)
    hits: list[Hit] = []
    with open_columns(version) as file:
        reached, is_cut = (start + 1, False) if backwards else (start - 1, False)
        for first, fitting, count in _batches(file, query, start, backwards):
            found = [Hit(first + at, line.encode()) for at, line in fitting]
            hits += reversed(found) if backwards else found
            reached = first if backwards else first + count - 1
            if len(hits) >= limit:
                hits = hits[:limit]
                reached = hits[-1].number
                break
            if time.monotonic() > until:
                total = file.metadata.num_rows
                is_cut = reached > 1 if backwards else reached < total
                break
        hits = _located(file, hits[::-1] if backwards else hits)
    first, last = (reached, start) if backwards else (start, reached)
    return Hits(hits, first, last, is_cut)


def _located(file: parquet.ParquetFile, hits: list[Hit]) -> list[Hit]:
    """Rows in ascending order with where they were read; only their row groups are asked for it."""
    found: list[Hit] = []
    for group, before, last in groups(file):
        inside = [hit for hit in hits if before < hit.number <= last]
        if inside:
            table = file.read_row_group(group, columns=["file", "place"])
            table = table.take([hit.number - before - 1 for hit in inside])
            origins = zip(table["file"].to_pylist(), table["place"].to_pylist(), strict=True)
            found += [
                replace(hit, file=name, place=place)
                for hit, (name, place) in zip(inside, origins, strict=True)
            ]
    return found


# A batch: the number of its first row, the fitting rows' places in it with their lines, the number of its rows.
Batch = tuple[int, list[tuple[int, str]], int]


def _batches(file: parquet.ParquetFile, query: Query, start: int, backwards: bool) -> Iterator[Batch]:
    """Rows from `start` on in ascending batches; backwards: up to `start` in descending ones."""
    spans = list(groups(file))
    for group, before, last in reversed(spans) if backwards else spans:
        first = before + 1
        low, high = (first, min(start, last)) if backwards else (max(start, first), last)
        if low > high:
            continue
        fits = _fitting_figures(file, group, query)
        if fits is not None and not pc.any(fits.slice(low - first, high - low + 1)).as_py():
            yield low, [], high - low + 1
            continue
        batches = _lines(file, group, first)
        for begin, lines in reversed(list(batches)) if backwards else batches:
            end = begin + len(lines) - 1
            if end < low or begin > high:
                continue
            begin, lines = (
                max(begin, low),
                lines.slice(max(0, low - begin), min(end, high) - max(begin, low) + 1),
            )
            mask = None if fits is None else fits.slice(begin - first, len(lines))
            yield begin, _matching(lines, mask, query), len(lines)


def _lines(file: parquet.ParquetFile, group: int, first: int) -> Iterator[tuple[int, Any]]:
    """The lines of a row group, a batch at a time, each with the number of its first row."""
    for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=["line"]):
        column = batch.column(0)
        yield first, column.cast(pa.string())
        first += len(column)


def _fitting_figures(file: parquet.ParquetFile, group: int, query: Query) -> Any:
    """Which rows of a row group have the figures that are asked for, as an array of truth; None: all of them."""
    if not query.columns:
        return None
    table = file.read_row_group(group, columns=query.columns)
    conditions = []
    for name in ("turns", "characters"):
        span: Span = getattr(query, name)
        if span.least is not None:
            conditions.append(pc.greater_equal(table[name], span.least))
        if span.most is not None:
            conditions.append(pc.less_equal(table[name], span.most))
    if query.language:
        conditions.append(pc.equal(table["language"], LANGUAGES.index(query.language)))
    if query.flag:
        bit = pa.scalar(FLAG_BITS[query.flag], table["flags"].type)
        conditions.append(pc.not_equal(pc.bit_wise_and(table["flags"], bit), 0))
    if query.file:
        conditions.append(pc.equal(table["file"].cast(pa.string()), query.file))
    fits = conditions[0]
    for condition in conditions[1:]:
        fits = pc.and_(fits, condition)
    return fits.combine_chunks() if isinstance(fits, pa.ChunkedArray) else fits


def _matching(lines: Any, mask: Any, query: Query) -> list[tuple[int, str]]:
    """Places and lines of the rows of a batch that fit."""
    places = pa.array(range(len(lines)), pa.int32())
    if mask is not None:
        lines, places = lines.filter(mask), places.filter(mask)
    if query.text and not query.is_pattern:
        # What stands in a text stands in its line as JSON writes it; few lines are left to be decoded.
        written = msgspec.json.encode(query.text)[1:-1].decode()
        likely = pc.match_substring_regex(lines, "(?i)" + re.escape(written))
        lines, places = lines.filter(likely), places.filter(likely)
    if query.text:
        texts = pa.array([_texts.decode(line).joined() for line in lines.to_pylist()], pa.string())
        found = pc.match_substring_regex(texts, query.expression)
        lines, places = lines.filter(found), places.filter(found)
    return list(zip(places.to_pylist(), lines.to_pylist(), strict=True))


def pieces(text: str, query: Query) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is a match. Joined they are the text."""
    if not query.text or _MARK in text:
        return [(text, False)]
    marked = pc.replace_substring_regex(pa.scalar(text), query.expression, rf"{_MARK}\0{_MARK}").as_py()
    return [(piece, at % 2 == 1) for at, piece in enumerate(marked.split(_MARK)) if piece]


def files_of(version: DatasetVersion) -> list[str]:
    """Names of the files that the rows came from, in their order; rows never change, so this is kept in the cache."""

    def read() -> list[str]:
        with open_columns(version) as file:
            names: dict[str, None] = {}
            for group, _first, _last in groups(file):
                names |= dict.fromkeys(
                    file.read_row_group(group, columns=["file"])["file"].unique().to_pylist()
                )
        return [name for name in names if name]

    found: list[str] = cache.get_or_set(f"files-of-{version.rows_path}", read, None)  # type: ignore[assignment]
    return found
