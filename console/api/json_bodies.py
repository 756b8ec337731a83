"""JSON bodies, read into checked structures."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from console.api.errors import Refused, invalid

T = TypeVar("T")


def read_object(body: bytes, kind: type[T]) -> T:
    """The body as `kind`; nothing at all is an empty object. Raises Refused, with the field that is wrong.

    Fields that `kind` does not know are let pass: clients send more than they need to.
    """
    try:
        data = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The body is not valid JSON: {error}."
        raise Refused(HTTPStatus.BAD_REQUEST, "MalformedJSON", message) from error
    return convert(data, kind)


def convert(data: Any, kind: type[T]) -> T:
    """Decoded JSON as `kind`. Raises Refused."""
    if _has_nul(data):
        raise invalid("The character NUL is not allowed.")
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        reason, _separator, place = str(error).partition(" - at `$.")
        param = place.removesuffix("`") or _missing(reason)
        raise invalid(f"{reason}.", param or None) from error


def _missing(reason: str) -> str:
    """The name in msgspec's "Object missing required field `jobId`"."""
    before, _backtick, rest = reason.partition("required field `")
    return rest.removesuffix("`") if rest and before else ""


def _has_nul(data: Any) -> bool:
    """Whether a text anywhere holds the one character that PostgreSQL does not take."""
    if isinstance(data, str):
        return "\0" in data
    if isinstance(data, dict):
        return any(_has_nul(key) or _has_nul(value) for key, value in data.items())
    return isinstance(data, list) and any(map(_has_nul, data))
