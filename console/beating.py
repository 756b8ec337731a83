"""Signs of life from long work that gives none itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import connection

logger = logging.getLogger(__name__)


@contextmanager
def beating(name: str, seconds: float, beat: Callable[[], object]) -> Iterator[None]:
    """Calls `beat` every so many seconds, from a thread of that name, for as long as the block runs.

    What it raises is logged and it is called again: a database that is away for a moment ends nothing.
    """
    done = threading.Event()

    def keep_beating() -> None:
        while not done.wait(seconds):
            try:
                beat()
            except Exception:
                logger.exception("%s: no heartbeat", name)
            finally:
                connection.close()

    thread = threading.Thread(target=keep_beating, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
