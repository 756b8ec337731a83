"""The log's lines: which run they are about, and, where a program reads them, one JSON object each (LOG_FORMAT)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

import msgspec

_run: ContextVar[str] = ContextVar("run", default="")


@contextmanager
def about_run(uid: str) -> Iterator[None]:
    """What this thread logs within the block is said of that run."""
    token = _run.set(uid)
    try:
        yield
    finally:
        _run.reset(token)


class OfRun(logging.Filter):
    """Writes on every record the run that it is about (`run`, "" without one), and the same for people (`about`)."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.run = _run.get()
        record.about = f" [{_run.get()}]" if _run.get() else ""
        return True


class JsonLines(logging.Formatter):
    """{"time", "level", "logger", "message"}, with "run" and "error" (the traceback) where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if run := getattr(record, "run", ""):
            said["run"] = run
        if record.exc_info:
            said["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(said).decode()
