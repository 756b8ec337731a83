"""Why an API refuses a request, before it is put into the words of one gateway."""

from __future__ import annotations

from http import HTTPStatus


class Refused(Exception):
    """A request that is not carried out.

    `code` is Qianfan's (BCE public error codes, where it has one), `param` the field that is to blame, in
    the words of the API that was called.
    """

    def __init__(self, status: int, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = int(status), code, message, param


def invalid(message: str, param: str | None = None) -> Refused:
    """Understood, but wrong."""
    return Refused(HTTPStatus.BAD_REQUEST, "InappropriateJSON", message, param)


def not_found(message: str, param: str | None = None) -> Refused:
    """Not there, or in somebody else's workspace: the answer is the same."""
    return Refused(HTTPStatus.NOT_FOUND, "NoSuchObject", message, param)


def forbidden(message: str) -> Refused:
    return Refused(HTTPStatus.FORBIDDEN, "AccessDenied", message)


def conflict(message: str, param: str | None = None) -> Refused:
    """Right, but not in the present state of things."""
    return Refused(HTTPStatus.CONFLICT, "Conflict", message, param)
