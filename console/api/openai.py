"""OpenAI's way of asking and answering: a token in the header, REST paths, one shape of errors and of lists."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import HttpResponseBase
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt

from console import audit
from console.api.errors import Refused, invalid, not_found
from console.api.keys import Caller, caller_by_token, note_use
from console.api.qianfan import require
from console.models import Scope
from console.rate_limits import add_headers, count_call, exceeded

logger = logging.getLogger(__name__)

_TYPES = {
    HTTPStatus.UNAUTHORIZED: "invalid_request_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded",
    HTTPStatus.INTERNAL_SERVER_ERROR: "server_error",
}
# Our codes in OpenAI's words.
_CODES = {
    "InappropriateJSON": "invalid_value",
    "MalformedJSON": "invalid_json",
    "NoSuchObject": "not_found",
    "AccessDenied": "insufficient_permissions",
    "Conflict": "conflict",
    "InternalError": "server_error",
}


@dataclass(frozen=True)
class Endpoint:
    """`run(caller, request, **path)` returns what is answered as JSON, or a response of its own."""

    run: Callable[..., dict[str, Any] | HttpResponseBase]
    scope: str = Scope.READ


def view(**endpoints: Endpoint) -> Callable[..., HttpResponseBase]:
    """The view of one path; the keywords are methods in small letters: get, post, delete."""

    def answer(request: HttpRequest, **path: str) -> HttpResponseBase:
        request_id = f"req_{uuid.uuid4().hex}"
        try:
            found = _carry_out(request, endpoints, path)
            response = found if isinstance(found, HttpResponseBase) else _json(found)
        except Refused as refusal:
            response = _json({"error": _error(refusal)}, refusal.status)
        response["x-request-id"] = request_id
        add_headers(response, request)
        return response

    return csrf_exempt(answer)


def _carry_out(request: HttpRequest, endpoints: dict[str, Endpoint], path: dict[str, str]) -> Any:
    """Raises Refused, also for what nobody thought of."""
    try:
        caller = authenticate(request)
        endpoint = endpoints.get((request.method or "").lower())
        if endpoint is None:
            allowed = ", ".join(method.upper() for method in endpoints)
            message = (
                f"{request.method} is not possible here, only {allowed}."
                if allowed
                else "There is nothing here."
            )
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", message)
        if any("\0" in text for text in (*path.values(), *request.GET, *request.GET.values())):
            raise invalid("The character NUL is not allowed.")
        note_use(caller.key)
        _count(request, caller)
        audit.acts(request, caller)
        with translation.override(caller.user.language or translation.get_language()):
            require(caller, endpoint.scope)
            return endpoint.run(caller, request, **path)
    except Refused:
        raise
    except RequestDataTooBig as error:
        limit = (settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0) // 1024**2
        message = f"The body is too large: at most {limit} MB, files left out."
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large", message) from error
    except MultiPartParserError as error:
        raise invalid(f"The body cannot be read: {error}.") from error
    except Exception as error:
        logger.exception("%s", request.get_full_path())
        message = "Something went wrong here; the log of the console says what."
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", message) from error


def _count(request: HttpRequest, caller: Caller) -> None:
    """Raises Refused for one call too many."""
    count = count_call(f"key-{caller.key.pk}", writes=request.method not in ("GET", "HEAD"))
    request.rate_count = count  # type: ignore[attr-defined]
    if count and count.is_exceeded:
        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, "rate_limit_exceeded", exceeded(count))


def authenticate(request: HttpRequest) -> Caller:
    """Who the token in the header belongs to. Raises Refused."""
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        message = "You didn't provide an API key. Send it as Authorization: Bearer sk-…"
        raise Refused(HTTPStatus.UNAUTHORIZED, "invalid_api_key", message)
    caller = caller_by_token(token.strip())
    if caller is None:
        message = f"Incorrect API key provided: {token[:3]}…{token[-4:]}. Keys are made on the page API keys."
        raise Refused(HTTPStatus.UNAUTHORIZED, "invalid_api_key", message)
    return caller


def unknown(caller: Caller, request: HttpRequest, **path: str) -> dict[str, Any]:
    raise not_found(f"{request.method} {request.path} is not offered here.")


def _error(refusal: Refused) -> dict[str, Any]:
    return {
        "message": refusal.message,
        "type": _TYPES.get(HTTPStatus(refusal.status), "invalid_request_error"),
        "param": refusal.param,
        "code": _CODES.get(refusal.code, refusal.code),
    }


def _json(body: dict[str, Any], status: int = 200) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(body), content_type="application/json", status=status)


# --- Lists ---------------------------------------------------------------------------------------------------


def listed(data: Sequence[dict[str, Any]], *, has_more: bool = False) -> dict[str, Any]:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def cut(
    request: HttpRequest,
    queryset: QuerySet[Any],
    find: Callable[[str], int | None],
    limit: int,
    most: int,
) -> tuple[list[Any], bool]:
    """The part of a list, newest first, that `after`, `limit` and `order` ask for, and whether there is more.

    `find` gives the primary key behind an ID, or None. Raises Refused.
    """
    asked = request.GET.get("limit", str(limit))
    if not (asked.isascii() and asked.isdecimal() and 1 <= int(asked[:9]) <= most):
        raise invalid(f"limit must be a whole number from 1 to {most}.", "limit")
    is_rising = request.GET.get("order") == "asc"
    queryset = queryset.order_by("pk" if is_rising else "-pk")
    if after := request.GET.get("after", ""):
        last = find(after)
        if last is None:
            raise invalid(f"There is nothing with the ID {after!r} in this list.", "after")
        queryset = queryset.filter(**{"pk__gt" if is_rising else "pk__lt": last})
    found = list(queryset[: int(asked) + 1])
    return found[: int(asked)], len(found) > int(asked)


def number_after(prefix: str) -> Callable[[str], int | None]:
    """A `find` for IDs made of a prefix and a primary key."""

    def find(given: str) -> int | None:
        text = given.removeprefix(prefix)
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else None

    return find
