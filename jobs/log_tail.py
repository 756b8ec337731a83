"""The log of a run, read in pieces: the end first, then what was added after a byte offset."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from jobs.models import Run
from jobs.run_files import LOG_NAME, run_directory

FIRST_BYTES = 64 * 1024
MAX_BYTES = 256 * 1024


@dataclass(frozen=True)
class LogPiece:
    """A piece of a log: `start` and `end` are byte offsets, `size` is the file's size. `end` is the cursor of
    the next piece: a character that is not complete yet lies after it."""

    text: str
    start: int
    end: int
    size: int

    @property
    def is_cut(self) -> bool:
        """Whether something lies before it that was not read."""
        return self.start > 0

    @property
    def has_more(self) -> bool:
        return self.end < self.size


def log_path(run: Run) -> Path:
    return run_directory(run) / LOG_NAME


def read_log(path: Path, after: int | None = None) -> LogPiece:
    """The last 64 KiB (from a line's beginning) without `after`, else at most 256 KiB after that offset.

    A file that does not exist yet is empty. An offset behind the end (the log was started anew) reads the
    end again.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return LogPiece("", 0, 0, 0)
    from_tail = after is None or after > size
    start = max(0, size - FIRST_BYTES) if from_tail or after is None else after
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(min(MAX_BYTES, size - start))
    if from_tail and start > 0:
        line_start = data.find(b"\n") + 1
        start, data = start + line_start, data[line_start:]
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text = decoder.decode(data)
    incomplete = len(decoder.getstate()[0])
    return LogPiece(text, start, start + len(data) - incomplete, size)
