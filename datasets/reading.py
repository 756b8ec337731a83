"""Reads the records of an uploaded file one by one, whatever its name ends in, never more than one in memory.

Two layouts, told apart by content: JSON lines (one value a line), and one JSON text (an array of records, also in an
object such as {"data": […]}, or objects that take several lines each). The standard library's decoder does the
parsing: it gives the exact end of each value, so that a record of an array is known by its line too, and its hooks
find duplicate keys and NaN, which faster decoders let pass.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from typing import IO, Any, NamedTuple

from datasets import fast
from datasets.blocks import ready_block

MAX_RECORD_BYTES = 8 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
# Lines are read in blocks. Of one that is not wholly good, smaller pieces are tried before single lines.
BLOCK_BYTES = 1024 * 1024
PIECE_BYTES = 32 * 1024
_SPACE = re.compile(r"[ \t\r\n]*")
# An object around the list of all records, as many public files have it; before the list only names and numbers.
_TEXT = r'"(?:[^"\\]|\\.)*"'
_WRAPPER = re.compile(
    rf"\s*\{{\s*(?:{_TEXT}\s*:\s*(?:{_TEXT}|[-+.0-9eE]+|true|false|null)\s*,\s*)*"
    r'"(?:data|rows|records|examples|samples|items|instances|dataset|train)"\s*:\s*\[\s*(?=[\[{\]])'
)


@dataclass(frozen=True, slots=True)
class Record:
    """A decoded record: `line` of its first character, from 1; `row` its number in an array, from 1, else None.

    `end` counts the bytes of the file that were read for it (a little more where they are read in chunks). `hint` is
    a kind of datasets.problems.KINDS that only warns, `file` another file than the one that is read.
    """

    value: Any
    text: str
    line: int
    row: int | None
    end: int
    hint: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record (or the rest of a file) that is no JSON: a kind of datasets.problems.KINDS with its params."""

    kind: str
    line: int
    row: int | None
    end: int
    text: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    file: str = ""


class _Refused(ValueError):
    """JSON that the decoder alone would accept."""

    def __init__(self, kind: str, **params: Any) -> None:
        super().__init__(kind)
        self.kind = kind
        self.params = params


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise _Refused("duplicate_key", key=key[:40])
            seen.add(key)
    return result


def _constant(value: str) -> Any:
    raise _Refused("not_finite", value=value)


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)
# Only finds where a refused value ends.
_LENIENT = json.JSONDecoder()


@dataclass
class Shortcut:
    """How lines of a known format are read faster; None: as all are. It may be set while a file is read."""

    decode: Callable[[bytes], list[fast.Said] | None] | None = None
    # A key of datasets.blocks.LAYOUTS: rows may come in blocks.
    layout: str = ""


class Passed(NamedTuple):
    """What of a file was taken before: so many of the things that `records` yields, and the byte and the line that the
    last of them ends at."""

    items: int
    end: int
    line: int


BEGINNING = Passed(0, 0, 0)


def records(
    file: IO[bytes], name: str, shortcut: Shortcut | None = None, passed: Passed = BEGINNING
) -> Iterator[Record | fast.Ready | fast.ReadyBlock | Unreadable]:
    """Yields every record of a binary, seekable file behind those that are passed, and what cannot be read, in order.

    The name only decides where the content can be read both ways: see `_is_one_text`.
    """
    file.seek(0)
    start = file.read(4096)
    if b"\0" in start:
        # UTF-16, an archive, a spreadsheet, …: one problem instead of one a line.
        if not passed.items:
            yield Unreadable("not_text_file", 1, None, len(start))
    elif _is_one_text(file, name):
        file.seek(0)
        yield from islice(_text_records(file), passed.items, None)
    else:
        file.seek(passed.end)
        yield from _line_records(file, shortcut or Shortcut(), passed.line, passed.end)


def _is_one_text(file: IO[bytes], name: str) -> bool:
    """False for JSON lines: the first line that is not blank holds a complete value, or the second one does.

    `[{"prompt": …}, {"prompt": …}]` alone in a file could be one conversation or two; it is one in a .jsonl.
    """
    file.seek(0)
    first = _filled_line(file)
    if len(first) > MAX_RECORD_BYTES:
        start = first[:CHUNK_BYTES].removeprefix(codecs.BOM_UTF8)
        return start.startswith(b"[") or _is_wrapped(start)
    second = _filled_line(file)
    begin = first.removeprefix(codecs.BOM_UTF8).strip()
    try:
        value = _STRICT.decode(begin.decode())
    except (ValueError, RecursionError):
        # An array cut up into lines, or lines of which the first is broken: then the second one is not.
        is_cut = not _is_complete(second) and (bool(second) or begin.startswith(b"["))
        return begin == b"[" or is_cut or _is_wrapped(begin)
    if second or not isinstance(value, list):
        return not second and _is_wrapped(begin)
    turns = all(isinstance(item, dict) and "prompt" in item for item in value)
    return not (turns and name.lower().endswith(".jsonl"))


def _is_wrapped(start: bytes) -> bool:
    return bool(_WRAPPER.match(start.decode(errors="replace")))


def _filled_line(file: IO[bytes]) -> bytes:
    """The next line that is not blank, cut at the limit of a record; b"" at the end of the file."""
    while line := file.readline(MAX_RECORD_BYTES + 1):
        if line.removeprefix(codecs.BOM_UTF8).strip():
            return line
    return b""


def _is_complete(line: bytes) -> bool:
    """True if the line is an object or array by itself."""
    try:
        return isinstance(_LENIENT.decode(line.decode()), dict | list)
    except (ValueError, RecursionError):
        return False


# --- JSON lines ----------------------------------------------------------------------------------------------


def _line_records(
    file: IO[bytes], shortcut: Shortcut, number: int, end: int
) -> Iterator[Record | fast.Ready | fast.ReadyBlock | Unreadable]:
    # Before the format is known, which some records tell, there is nothing to be won by large blocks.
    while block := file.read(BLOCK_BYTES if number and shortcut.layout else 2 * PIECE_BYTES):
        if not block.endswith(b"\n"):
            block += file.readline(MAX_RECORD_BYTES + 1)
        # A byte order mark is looked for in the first block only, and a line that is too long in large ones.
        is_usual = bool(number) and len(block) <= MAX_RECORD_BYTES
        for piece in _pieces(block, number, end, shortcut.layout if is_usual else ""):
            if isinstance(piece, fast.ReadyBlock):
                yield piece
                number, end = number + len(piece.lines), piece.end
                continue
            for raw in BytesIO(piece):
                number += 1
                end += len(raw)
                if len(raw) > MAX_RECORD_BYTES:
                    while not raw.endswith(b"\n") and (raw := file.readline(CHUNK_BYTES)):
                        end += len(raw)
                    yield Unreadable("too_long", number, None, end, params=_limit())
                    continue
                if number == 1:
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                if shortcut.decode and (row := fast.ready(shortcut.decode, raw, number, end)):
                    yield row
                elif raw.strip():
                    yield _line_record(raw, number, end)


def _pieces(block: bytes, number: int, end: int, layout: str) -> Iterator[fast.ReadyBlock | bytes]:
    """The rows of a block of lines that comes after so many lines and bytes; what is not plainly good as bytes."""
    if not layout:
        yield block
    elif ready := ready_block(layout, block, number + 1, end + len(block)):
        yield ready
    else:
        start = 0
        while start < len(block):
            stop = block.find(b"\n", start + PIECE_BYTES) + 1 or len(block)
            piece = block[start:stop]
            end += len(piece)
            yield ready_block(layout, piece, number + 1, end) or piece
            number += piece.count(b"\n")
            start = stop


def _line_record(raw: bytes, number: int, end: int) -> Record | Unreadable:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        shown = raw[max(0, error.start - 40) : error.start + 80].decode(errors="replace")
        return Unreadable("encoding", number, None, end, shown, {"byte": error.start + 1})
    try:
        return Record(_STRICT.decode(text), text, number, None, end)
    except json.JSONDecodeError as error:
        params = {"column": error.pos + 1, "detail": error.msg}
        return Unreadable("invalid_json", number, None, end, _around(text, error.pos), params)
    except (ValueError, RecursionError) as error:
        return Unreadable(*_refusal(error, number, None, end, text))


def single(text: str) -> Record | Unreadable:
    """Reads one record by itself; it may take several lines."""
    return _line_record(text.encode("utf-8", "replace"), 1, 0)


def _refusal(
    error: ValueError | RecursionError, line: int, row: int | None, end: int, text: str
) -> tuple[str, int, int | None, int, str, dict[str, Any]]:
    """The fields of an Unreadable for what the decoder raised besides JSONDecodeError."""
    if isinstance(error, RecursionError):
        return "too_deep", line, row, end, text, {}
    if isinstance(error, _Refused):
        return error.kind, line, row, end, text, error.params
    # int() refuses more than 4,300 digits.
    return "number_too_long", line, row, end, text, {}


def _around(text: str, position: int) -> str:
    return text[max(0, position - 40) : position + 80]


def _limit() -> dict[str, Any]:
    return {"limit": MAX_RECORD_BYTES // 1024**2}


# --- One JSON text -------------------------------------------------------------------------------------------


class _Window:
    """A moving piece of a text file: `text[position:]` is what comes next."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self.text = ""
        self.position = 0
        self.line = 1
        self.column = 1
        self.end = 0
        self.finished = False
        # Where the file stops being UTF-8, as a number of bytes from its start; what comes before is read.
        self.bad_byte: int | None = None

    def feed(self) -> None:
        """Reads on: as much again as is waiting, so that a long record is not decoded too many times."""
        raw = self.file.read(max(CHUNK_BYTES, len(self.text) - self.position))
        try:
            more = self.decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            # error.object also holds the bytes that were left over from the last piece.
            self.bad_byte = self.end + error.start - (len(error.object) - len(raw)) + 1
            more = error.object[: error.start].decode()
        self.end += len(raw)
        self.finished = not raw or self.bad_byte is not None
        self.text = self.text[self.position :] + more
        self.position = 0

    def advance(self, to: int) -> str:
        """Moves to an index of `text`; returns what was passed."""
        passed = self.text[self.position : to]
        if lines := passed.count("\n"):
            self.line += lines
            self.column = len(passed) - passed.rfind("\n")
        else:
            self.column += len(passed)
        self.position = to
        return passed

    def place(self, at: int) -> tuple[int, int]:
        """Line and column, from 1, of an index of `text` at or after the position."""
        ahead = self.text[self.position : at]
        lines = ahead.count("\n")
        return self.line + lines, len(ahead) - ahead.rfind("\n") if lines else self.column + len(ahead)

    def peek(self) -> str:
        """Passes white space; returns the next character, "" at the end."""
        while True:
            space = _SPACE.match(self.text, self.position)
            self.advance(space.end() if space else self.position)
            if self.position < len(self.text):
                return self.text[self.position]
            if self.finished:
                return ""
            self.feed()

    def decode(self, decoder: json.JSONDecoder) -> tuple[Any, str]:
        """Decodes the next value; returns it with its text and moves behind it. Raises what the decoder raises,
        and _Refused for a value over the limit."""
        while True:
            try:
                value, end = decoder.raw_decode(self.text, self.position)
                # A number at the end of the piece may go on.
                if end < len(self.text) or self.finished:
                    return value, self.advance(end)
            except json.JSONDecodeError:
                if self.finished:
                    raise
            if len(self.text) - self.position > MAX_RECORD_BYTES:
                raise _Refused("too_long", **_limit())
            self.feed()


def _text_records(file: IO[bytes]) -> Iterator[Record | Unreadable]:
    window = _Window(file)
    is_array = window.peek() == "["
    wrapper = _WRAPPER.match(window.text, window.position)
    if is_array:
        window.advance(window.position + 1)
    elif wrapper:
        window.advance(wrapper.end())
        is_array = True
    row = 0
    while True:
        following = window.peek()
        if is_array and following == "]":
            window.advance(window.position + 1)
            if wrapper:
                yield from _wrapper_end(window, row)
            elif window.peek():
                yield _broken(window, window.position, row, "Text after the end of the list")
            return
        if not is_array and not following and window.bad_byte is None:
            return
        if is_array and row and following == ",":
            window.advance(window.position + 1)
            window.peek()
        elif is_array and row:
            yield _broken(window, window.position, row, "Expecting ',' or ']'")
            return
        row += 1
        line, place = window.line, row if is_array else None
        try:
            value, text = window.decode(_STRICT)
            yield Record(value, text, line, place, window.end)
        except json.JSONDecodeError as error:
            yield _broken(window, error.pos, row, error.msg)
            return
        except (ValueError, RecursionError) as error:
            waiting = window.text[window.position : window.position + 200]
            yield Unreadable(*_refusal(error, line, place, window.end, waiting))
            if not _skip(window):
                yield Unreadable("rest_unread", line, place, window.end, waiting)
                return


def _wrapper_end(window: _Window, row: int) -> Iterator[Unreadable]:
    """Passes what stands behind the list of records in the object around it; another list of objects is told of."""
    try:
        while window.peek() == ",":
            window.advance(window.position + 1)
            for expected in (":", ""):
                window.peek()
                line = window.line
                value, text = window.decode(_STRICT)
                if expected and window.peek() == expected:
                    window.advance(window.position + 1)
                elif expected:
                    yield _broken(window, window.position, row, "Expecting ':' delimiter")
                    return
            if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
                yield Unreadable("second_list", line, None, window.end, text[:200])
    except json.JSONDecodeError as error:
        yield _broken(window, error.pos, row, error.msg)
    except (ValueError, RecursionError) as error:
        waiting = window.text[window.position : window.position + 200]
        yield Unreadable(*_refusal(error, window.line, None, window.end, waiting))
    else:
        if window.peek() != "}":
            yield _broken(window, window.position, row, "Expecting ',' or '}'")
            return
        window.advance(window.position + 1)
        if window.peek():
            yield _broken(window, window.position, row, "Text after the end of the list")


def _skip(window: _Window) -> bool:
    """Passes a refused value; False where its end cannot be found."""
    try:
        window.decode(_LENIENT)
    except (ValueError, RecursionError):
        return False
    return True


def _broken(window: _Window, at: int, row: int, detail: str) -> Unreadable:
    """The text cannot be read any further."""
    line, column = window.place(at)
    if window.bad_byte is not None:
        params: dict[str, Any] = {"byte": window.bad_byte}
        return Unreadable("encoding_in_text", line, row, window.end, _around(window.text, at), params)
    params = {"line": line, "column": column, "detail": detail}
    return Unreadable("array_broken", line, row, window.end, _around(window.text, at), params)
