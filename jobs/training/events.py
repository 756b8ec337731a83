"""`events.jsonl`: what a run tells the outside, one JSON object a line, appended and never rewritten."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

FILE_NAME = "events.jsonl"

Event = dict[str, Any]


class TrainingFailure(Exception):
    """A failure that a person can act on. It ends the run with a `failed` event.

    `code` is stable snake_case (the console translates it with `params`), `message` one English sentence.
    """

    def __init__(self, code: str, message: str, **params: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.params = code, message, params


class EventWriter:
    """Appends events. Each line goes out in one write, so a reader never waits on a buffer.

    A process killed in the middle of a write leaves half a line; opening the file again cuts it off, which no
    reader notices, because `read_events` stops at the last line end.
    """

    def __init__(self, path: Path, attempt: int) -> None:
        self.attempt = attempt
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        os.ftruncate(self._file, _end_of_last_line(path))

    def write(self, type: str, **fields: Any) -> None:
        """Append one event. `fields` must be JSON values without NaN or infinity."""
        event = {"type": type, "time": now(), "attempt": self.attempt, **fields}
        line = memoryview(msgspec.json.encode(event) + b"\n")
        start = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError:
            os.ftruncate(self._file, start)  # a full disk must not leave half a line before the next event
            raise

    def warn(self, code: str, message: str, **params: Any) -> None:
        """A `warning` event, also printed so that train.log tells the same story."""
        print(f"warning: {message}", flush=True)
        self.write("warning", code=code, params=params, message=message)

    def close(self) -> None:
        os.close(self._file)


def now() -> str:
    """UTC, ISO 8601 with milliseconds and Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_events(path: Path, offset: int = 0) -> tuple[list[Event], int]:
    """The complete events after byte `offset`, and the offset to pass next time.

    A line that is still being written is left for the next call. A file that does not exist has no events.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    complete = data[: data.rfind(b"\n") + 1]
    return [msgspec.json.decode(line) for line in complete.splitlines()], offset + len(complete)


def _end_of_last_line(path: Path) -> int:
    """Size of the file up to its last line end, looking at the last 64 KiB only (no event is that long)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = max(0, size - 65536)
        file.seek(start)
        return start + file.read().rfind(b"\n") + 1
