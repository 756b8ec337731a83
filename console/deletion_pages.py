"""Deleting from a page: done, or the reader is told what still needs the thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.contrib import messages
from django.http import HttpRequest

from console.deletion import NotDeletable
from console.models import User

Thing = TypeVar("Thing")


def delete(request: HttpRequest, how: Callable[[Thing, User], None], thing: Thing, success: str) -> bool:
    """Deletes something as the signed-in person with a function that raises NotDeletable; returns whether it went.

    `success` is what the next page says then; otherwise it says the reason.
    """
    try:
        how(thing, request.user)  # type: ignore[arg-type]  # the pages are for people who have signed in
    except NotDeletable as reason:
        messages.error(request, str(reason))
        return False
    messages.success(request, success)
    return True
