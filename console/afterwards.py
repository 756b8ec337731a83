"""What is done once a transaction is committed, and may fail without anything being lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction


def after_commit(function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Calls the function once the current transaction is committed; what it raises is logged and goes no further.

    For messages that wake a worker up (beat sends them again, should the broker be away) and for tidying up. Django
    names what has failed by its `__qualname__`, which a partial has not: given one, it raises after all.
    """

    def call() -> None:
        function(*args, **kwargs)

    call.__qualname__ = getattr(function, "__qualname__", repr(function))
    transaction.on_commit(call, robust=True)
