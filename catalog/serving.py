"""The processes that answer: one a model, at most so many at once, each ended when nobody asked for a while.

Lives in one process of its own (`serving_app`), so that web workers load no model and no model is loaded twice.
"""

from __future__ import annotations

import logging
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec
from django.conf import settings

from jobs.launch import python, trainer_environment
from jobs.training.serving_protocol import Cancel, Load, Said, Task

logger = logging.getLogger(__name__)

# How often somebody who waits is told so, which is also how soon it is noticed that he has gone, in seconds.
PATIENCE = 1.0
# How many may wait for one model, and how long for a place in the memory.
MOST_WAITING = 16
PLACE_SECONDS = 60.0
# How long a process may take to notice that an answer is not wanted any more: it looks at each token.
CANCEL_SECONDS = 30.0
ENDS = ("done", "refused")


class NotAnswered(Exception):
    """Why there is no answer: busy, crashed, or the code of what the process said when it could not load."""

    def __init__(self, code: str, message: str, params: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.params = code, message, params or {}


class Process:
    """One model in the memory, or on its way there."""

    def __init__(self, load: Load, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env=trainer_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.lines: queue.SimpleQueue[Said | None] = queue.SimpleQueue()
        self.turn = threading.Lock()  # one answer at a time
        self.users, self.used_at = 0, time.monotonic()
        self.is_ready, self.last_id = False, 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        self._send(load)

    def _read(self) -> None:
        assert self.process.stdout is not None and self.process.stdin is not None
        decoder = msgspec.json.Decoder(Said)
        with self.process.stdout as output:
            for line in output:
                self.lines.put(decoder.decode(line))
        self.process.wait()
        with suppress(OSError):  # what was never sent
            self.process.stdin.close()
        self.lines.put(None)

    def _send(self, message: Load | Task | Cancel) -> None:
        assert self.process.stdin is not None
        with suppress(OSError, ValueError):  # it has ended, which reading says
            self.process.stdin.write(msgspec.json.encode(message) + b"\n")
            self.process.stdin.flush()

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def answer(self, task: Task) -> Iterator[Said | None]:
        """What the process says; None: nothing yet. Raises NotAnswered. Closed early, it ends the task."""
        if not self.is_ready:
            yield from self._wait_until_ready()
        self.last_id += 1
        self._send(msgspec.structs.replace(task, id=self.last_id))
        ended = False
        try:
            while not ended:
                said = self._next()
                if said is not None:
                    ended = said.type in ENDS
                yield said
        finally:
            if not ended and self.is_alive:
                self._cancel(self.last_id)

    def _wait_until_ready(self) -> Iterator[None]:
        while (said := self._next()) is None:
            yield None
        if said.type != "ready":
            raise NotAnswered(said.code, said.text, said.params)
        self.is_ready = True

    def _next(self) -> Said | None:
        try:
            said = self.lines.get(timeout=PATIENCE)
        except queue.Empty:
            return None
        if said is not None:
            return said
        self.lines.put(None)  # for whoever asks next
        code = self.process.returncode
        if code == -signal.SIGKILL:
            message = (
                "The process that runs this model was killed, probably because the memory was not enough."
            )
            raise NotAnswered("killed", message)
        raise NotAnswered("crashed", "The process that runs this model ended unexpectedly. Ask again.")

    def _cancel(self, number: int) -> None:
        """Returns when the task is over, so that the next one does not read its rest; kills what does not end."""
        self._send(Cancel(number))
        deadline = time.monotonic() + CANCEL_SECONDS
        try:
            while time.monotonic() < deadline:
                said = self._next()
                if said is not None and said.id == number and said.type in ENDS:
                    return
        except NotAnswered:
            return
        self.end()

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()


class Pool:
    """The models in the memory, by what was loaded."""

    def __init__(self, most: int, idle_seconds: float, command: Sequence[str] | None = None) -> None:
        self.most, self.idle_seconds = most, idle_seconds
        self.command = list(command or (python(), "-m", "jobs.training.serving"))
        self.processes: dict[bytes, Process] = {}
        self.changed = threading.Condition()
        self.closed = threading.Event()
        threading.Thread(target=self._end_idle, daemon=True).start()

    def answer(self, load: Load, task: Task) -> Iterator[Said | None]:
        """What the model says; None: wait, it is being loaded or answers somebody else. Raises NotAnswered."""
        deadline = time.monotonic() + PLACE_SECONDS
        while (process := self._enter(load)) is None:
            if time.monotonic() > deadline:
                raise NotAnswered("busy", "All models that fit are answering others. Ask again in a moment.")
            yield None
        try:
            while not process.turn.acquire(timeout=PATIENCE):
                yield None
            try:
                yield from process.answer(task)
            finally:
                process.turn.release()
        finally:
            self._leave(process)

    def _enter(self, load: Load) -> Process | None:
        """The model's process, started if there is none; None where all places are taken by models in use."""
        key = msgspec.json.encode(load)
        with self.changed:
            self._forget_ended()
            process = self.processes.get(key)
            if process is None:
                if not self._make_room():
                    self.changed.wait(PATIENCE)
                    return None
                logger.info("serving %s with %s", load.base, load.adapter or "no adapter")
                process = self.processes[key] = Process(load, self.command)
            if process.users >= MOST_WAITING:
                raise NotAnswered("busy", "Too many are waiting for this model. Ask again in a moment.")
            process.users += 1
            return process

    def _leave(self, process: Process) -> None:
        with self.changed:
            process.users -= 1
            process.used_at = time.monotonic()
            self.changed.notify_all()

    def _forget_ended(self) -> None:
        self.processes = {key: process for key, process in self.processes.items() if process.is_alive}

    def _make_room(self) -> bool:
        """Whether one more may be loaded, the least recently used one ended for it."""
        if len(self.processes) < self.most:
            return True
        unused = [(process.used_at, key) for key, process in self.processes.items() if not process.users]
        if not unused:
            return False
        self.processes.pop(min(unused)[1]).end()
        return True

    def _end_idle(self) -> None:
        while not self.closed.wait(min(self.idle_seconds / 4, 15)):
            now = time.monotonic()
            with self.changed:
                self._forget_ended()
                for key, process in list(self.processes.items()):
                    if not process.users and now - process.used_at > self.idle_seconds:
                        self.processes.pop(key).end()
                self.changed.notify_all()

    def close(self) -> None:
        self.closed.set()
        with self.changed:
            for process in self.processes.values():
                process.end()
            self.processes.clear()
