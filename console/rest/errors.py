"""Errors of the own API: one shape for all, in the language of the request.

{"error": {"code": "invalid", "message": "…", "fields": [{"path": "…", "code": "…", "message": "…"}]}}
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError
from ninja.errors import ValidationError as Unfit
from pydantic import BaseModel, Field

from console.api.errors import Refused
from console.deletion import NotDeletable

logger = logging.getLogger(__name__)


class FieldError(BaseModel):
    """What is wrong with one field."""

    path: str = Field(description="Where it stands in the request: hyperparameters.learningRate, sources[0]")
    code: str = Field(description="For programs: missing, unknown_field, wrong_type, invalid, …")
    message: str = Field(description="For people, in the language of Accept-Language")


class ErrorBody(BaseModel):
    code: str = Field(
        description="unauthenticated, forbidden, not_found, method_not_allowed, conflict, invalid, too_large, "
        "too_many_requests, internal"
    )
    message: str
    fields: list[FieldError]


class Error(BaseModel):
    """The answer wherever something is not carried out."""

    error: ErrorBody


# The texts that stand where nothing more is known.
_TEXTS: dict[int, tuple[str, str | Promise]] = {
    HTTPStatus.BAD_REQUEST: ("bad_request", gettext_lazy("The request cannot be read.")),
    HTTPStatus.UNAUTHORIZED: (
        "unauthenticated",
        gettext_lazy("Send a key that is in force: Authorization: Bearer sk-… (page “API keys”)."),
    ),
    HTTPStatus.FORBIDDEN: ("forbidden", gettext_lazy("You are not allowed to do this.")),
    HTTPStatus.NOT_FOUND: ("not_found", gettext_lazy("There is nothing of that name here.")),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "method_not_allowed",
        gettext_lazy("This method is not possible here."),
    ),
    HTTPStatus.CONFLICT: ("conflict", gettext_lazy("This is not possible now.")),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("too_large", gettext_lazy("The body is too large.")),
    HTTPStatus.UNPROCESSABLE_ENTITY: ("invalid", gettext_lazy("The request is not valid.")),
    HTTPStatus.TOO_MANY_REQUESTS: ("too_many_requests", gettext_lazy("Too many calls. Wait a little.")),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "internal",
        gettext_lazy("Something went wrong here; the log of the console says what."),
    ),
}
# The statuses that any endpoint may answer with, for the description.
COMMON = {400: Error, 401: Error, 403: Error, 429: Error}
WITH_OBJECT = COMMON | {404: Error}
CHANGING = WITH_OBJECT | {409: Error, 422: Error}


def file_of(content_type: str) -> dict[str, Any]:
    """For `openapi_extra=` of an endpoint that answers with a file."""
    content = {content_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"responses": {200: {"description": "The file", "content": content}}}


class Rejected(Exception):
    """A request that is not carried out; `fields` says what is wrong where."""

    def __init__(self, status: int, message: str = "", fields: Iterable[FieldError] = ()) -> None:
        super().__init__(message)
        self.status, self.message, self.fields = int(status), message, list(fields)


def conflict(reason: object) -> Rejected:
    return Rejected(HTTPStatus.CONFLICT, str(reason))


def invalid(path: str, message: object, code: str = "invalid") -> Rejected:
    """One field that is wrong."""
    return Rejected(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        str(message),
        [FieldError(path=path, code=code, message=str(message))],
    )


def invalid_fields(problems: Mapping[str, Iterable[object]]) -> Rejected:
    """Several: messages by path."""
    fields = [
        FieldError(path=path, code="invalid", message=str(message))
        for path, messages in problems.items()
        for message in messages
    ]
    return Rejected(HTTPStatus.UNPROCESSABLE_ENTITY, " ".join(item.message for item in fields), fields)


def response(
    status: int, message: object = "", fields: Iterable[FieldError] = (), code: str = ""
) -> HttpResponse:
    usual_code, usual_text = _TEXTS.get(status, ("error", ""))
    body = ErrorBody(
        code=code or usual_code, message=str(message or usual_text or status), fields=list(fields)
    )
    answer = HttpResponse(Error(error=body).model_dump_json(), content_type="application/json", status=status)
    if status == HTTPStatus.UNAUTHORIZED:
        answer["WWW-Authenticate"] = "Bearer"
    return answer


def add_handlers(api: NinjaAPI) -> None:
    """Every exception that an endpoint lets through becomes an answer of this shape."""

    @api.exception_handler(Exception)
    def unexpected(request: HttpRequest, error: Exception) -> HttpResponse:
        logger.error("%s %s", request.method, request.get_full_path(), exc_info=error)
        return response(HTTPStatus.INTERNAL_SERVER_ERROR)

    @api.exception_handler(Rejected)
    def rejected(request: HttpRequest, error: Rejected) -> HttpResponse:
        return response(error.status, error.message, error.fields)

    @api.exception_handler(Refused)
    def refused(request: HttpRequest, error: Refused) -> HttpResponse:
        fields = [FieldError(path=error.param, code="invalid", message=error.message)] if error.param else []
        status = HTTPStatus.UNPROCESSABLE_ENTITY if error.status == HTTPStatus.BAD_REQUEST else error.status
        return response(status, error.message, fields)

    @api.exception_handler(HttpError)
    def http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
        return response(error.status_code)

    @api.exception_handler(AuthenticationError)
    def unauthenticated(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
        return response(HTTPStatus.UNAUTHORIZED)

    @api.exception_handler(Http404)
    def missing(request: HttpRequest, error: Http404) -> HttpResponse:
        # Django's own text ("No Job matches the given query.") says nothing to a caller.
        text = str(error.args[0]) if error.args and "matches the given query" not in str(error) else ""
        return response(HTTPStatus.NOT_FOUND, text)

    @api.exception_handler(PermissionDenied)
    def denied(request: HttpRequest, error: PermissionDenied) -> HttpResponse:
        return response(HTTPStatus.FORBIDDEN, error)

    @api.exception_handler(NotDeletable)
    def not_deletable(request: HttpRequest, error: NotDeletable) -> HttpResponse:
        return response(HTTPStatus.CONFLICT, error)

    @api.exception_handler(ValidationError)
    def not_valid(request: HttpRequest, error: ValidationError) -> HttpResponse:
        messages = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
        problem = invalid_fields(messages)
        return response(problem.status, problem.message, [item for item in problem.fields if item.path])

    @api.exception_handler(Unfit)
    def unfit(request: HttpRequest, error: Unfit) -> HttpResponse:
        fields = [_field_error(item) for item in error.errors]
        text = " ".join(f"{item.path}: {item.message}" for item in fields)
        return response(HTTPStatus.UNPROCESSABLE_ENTITY, text, fields)

    @api.exception_handler(RequestDataTooBig)
    def too_big(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
        return response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    @api.exception_handler(MultiPartParserError)
    def not_multipart(request: HttpRequest, error: MultiPartParserError) -> HttpResponse:
        return response(HTTPStatus.BAD_REQUEST)


# --- What does not fit its description ------------------------------------------------------------------------


def _field_error(item: Mapping[str, Any]) -> FieldError:
    """One of pydantic's complaints in our words; those that are rare keep its own."""
    kind, context = item["type"], item.get("ctx", {})
    code, text = _complaint(kind, context)
    return FieldError(path=_path(item["loc"]), code=code, message=text or item["msg"])


def _path(location: Iterable[str | int]) -> str:
    """("body", "sources", 0, "version") as sources[0].version."""
    path = ""
    # The first says whether it is of the body or the address, the second names the argument of the function.
    parts = list(location)[1:]
    if parts and parts[0] in ("body", "given"):
        parts = parts[1:]
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _complaint(kind: str, context: Mapping[str, Any]) -> tuple[str, str]:
    if kind == "missing":
        return "missing", _("This field is required.")
    if kind == "extra_forbidden":
        return "unknown_field", _("There is no such field.")
    if kind.startswith(("string_type", "string_sub", "string_uni")):
        return "wrong_type", _("must be a text.")
    if kind.startswith(("bool_",)):
        return "wrong_type", _("must be true or false.")
    if kind.startswith(("int_", "float_")) or kind == "finite_number":
        whole = kind.startswith("int_")
        return "wrong_type", _("must be a whole number.") if whole else _("must be a number.")
    if kind in ("list_type", "tuple_type"):
        return "wrong_type", _("must be a list.")
    if kind in ("dict_type", "model_attributes_type", "model_type"):
        return "wrong_type", _("must be an object.")
    if kind in ("enum", "literal_error"):
        return "not_a_choice", _("must be one of %(values)s.") % {"values": context.get("expected", "")}
    if kind in ("greater_than_equal", "greater_than"):
        least = context.get("ge", context.get("gt"))
        return "too_small", _("must be at least %(least)s.") % {"least": least}
    if kind in ("less_than_equal", "less_than"):
        most = context.get("le", context.get("lt"))
        return "too_large", _("must be at most %(most)s.") % {"most": most}
    if kind in ("string_too_short", "too_short"):
        return "too_short", _("must have at least %(least)s.") % {"least": context.get("min_length")}
    if kind in ("string_too_long", "too_long"):
        return "too_long", _("must have at most %(most)s.") % {"most": context.get("max_length")}
    if kind == "string_pattern_mismatch":
        return "invalid", _("does not have the form of such a text.")
    return "invalid", ""
