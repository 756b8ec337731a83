"""The log of a run, read in pieces: the end first, then what was added after a byte offset; or any window of it.

However large a file is, a look reads at most MAX_BYTES of it.
"""

from __future__ import annotations

import codecs
import socket
from dataclasses import dataclass
from pathlib import Path

from jobs.models import Run
from jobs.run_files import LOG_NAME, run_directory

FIRST_BYTES = 64 * 1024
MAX_BYTES = 256 * 1024
# Of a window that shows one line: so much lies before it.
CONTEXT_BYTES = 8 * 1024


@dataclass(frozen=True)
class LogPiece:
    """A piece of a log: `start` and `end` are byte offsets, `size` is the file's size. `end` is the cursor of
    the next piece: a character that is not complete yet lies after it. `line` is the place in `text` of the line
    that the piece was read for, None where there is none."""

    text: str
    start: int
    end: int
    size: int
    line: slice | None = None

    @property
    def is_cut(self) -> bool:
        """Whether something lies before it that was not read."""
        return self.start > 0

    @property
    def has_more(self) -> bool:
        return self.end < self.size

    @property
    def percent(self) -> int:
        """How far into the file it reaches; 100 at the end alone."""
        return 100 * self.end // self.size if self.size else 100


def log_path(run: Run) -> Path:
    return run_directory(run) / LOG_NAME


def host_of_log(run: Run) -> str:
    """The machine on which the log lies, where this one does not see its directory; else empty."""
    host = str(run.summary.get("host", ""))
    return host if host != socket.gethostname() and not run_directory(run).exists() else ""


def read_log(path: Path, after: int | None = None) -> LogPiece:
    """The last 64 KiB (from a line's beginning) without `after`, else at most 256 KiB after that offset.

    A file that does not exist yet is empty. An offset behind the end (the log was started anew) reads the
    end again.
    """
    size = _size(path)
    from_tail = after is None or after > size
    start = max(0, size - FIRST_BYTES) if from_tail or after is None else after
    data = _read(path, start, min(MAX_BYTES, size - start))
    if from_tail:
        cut = _partial_line(data, start)
        start, data = start + cut, data[cut:]
    return _piece(data, start, size)


def read_before(path: Path, end: int) -> LogPiece:
    """The 64 KiB up to byte `end`, from a line's beginning."""
    size = _size(path)
    end = min(end, size)
    start = max(0, end - FIRST_BYTES)
    data = _read(path, start, end - start)
    cut = _partial_line(data, start)
    return _piece(data[cut:], start + cut, size)


def read_around(path: Path, at: int) -> LogPiece:
    """64 KiB of whole lines with the line of byte `at` among them, a few lines below the first."""
    size = _size(path)
    at = min(at, size)
    start = max(0, at - CONTEXT_BYTES)
    data = _read(path, start, min(FIRST_BYTES, size - start))
    cut = min(_partial_line(data, start), at - start)
    start, data = start + cut, data[cut:]
    if start + len(data) < size:
        data = data[: data.rfind(b"\n") + 1] or data
    begin = data.rfind(b"\n", 0, at - start) + 1
    end = data.find(b"\n", at - start)
    before, line = data[:begin], data[begin : end if end >= 0 else len(data)]
    shown_before, shown = (len(part.decode(errors="replace")) for part in (before, line))
    piece = _piece(data, start, size)
    return LogPiece(piece.text, start, piece.end, size, slice(shown_before, shown_before + shown))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read(path: Path, start: int, length: int) -> bytes:
    if length <= 0:
        return b""
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _partial_line(data: bytes, start: int) -> int:
    """Bytes of a line that began before `data`; 0 where there is nothing else in it."""
    cut = data.find(b"\n") + 1 if start > 0 else 0
    return cut if cut < len(data) else 0


def _piece(data: bytes, start: int, size: int) -> LogPiece:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data)
    incomplete = len(decoder.getstate()[0])
    return LogPiece(text, start, start + len(data) - incomplete, size)
