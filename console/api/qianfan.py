"""Qianfan's way of asking and answering: one envelope for V2, two for V1, and how an action is called.

V2 is `POST /v2/<group>?Action=<name>`, V1 `POST /wenxinworkshop/<area>/<verb>`; both take a JSON object and are
signed (console/api/signature.py). An `Action` names the function that carries it out, which gets the caller and the
checked body, and returns what goes into `result`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import msgspec
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from console import audit
from console.api.errors import Refused, forbidden, invalid
from console.api.json_bodies import read_object
from console.api.keys import Caller, note_use
from console.api.signature import authenticate, refuse_replay
from console.models import Scope
from console.rate_limits import add_headers, count_call, exceeded

logger = logging.getLogger(__name__)
View = Callable[..., HttpResponse]


@dataclass(frozen=True)
class Action:
    """`run(caller, body)`; `body` is a msgspec Struct. One that `creates` is not carried out twice for one
    signed request."""

    run: Callable[[Caller, Any], Any]
    body: type[msgspec.Struct]
    scope: str = Scope.READ
    creates: bool = False


TOO_MANY = "RequestLimitExceeded"


class Nothing(msgspec.Struct):
    """The body of an action that asks for nothing."""


def v2(actions: Mapping[str, Action]) -> View:
    """The view of a group of V2 actions; errors carry an HTTP status, for only by that the SDK sees them."""

    def view(request: HttpRequest, **path: str) -> HttpResponse:
        name = request.GET.get("Action", "")

        def find() -> Action:
            if name not in actions:
                known = f", only: {', '.join(sorted(actions))}" if actions else ""
                message = f"There is no action {name!r} here{known}."
                raise Refused(HTTPStatus.BAD_REQUEST, "InvalidAction", message)
            return actions[name]

        request_id = str(uuid.uuid4())
        try:
            result = _carry_out(request, find)
        except Refused as refusal:
            body: dict[str, Any] = {
                "requestId": request_id,
                "code": refusal.code,
                "message": _message(refusal),
            }
            if refusal.code == TOO_MANY:
                body |= {"error_code": _V1_CODES[TOO_MANY], "error_msg": _message(refusal)}
            return _answer(body, _status(request, refusal), refusal)
        return _answer({"requestId": request_id, "result": result})

    return _exempt(view)


def unknown(caller: Caller, body: Nothing) -> None:
    """A V1 call that is not offered."""
    raise Refused(HTTPStatus.NOT_FOUND, "MethodNotAllowed", "This call is not offered here.")


# What V1 calls the kinds of refusal; the rest is 336003, a wrong parameter.
_V1_CODES = {
    "AccessDenied": 6,
    "InvalidAccessKeyId": 14,
    "SignatureDoesNotMatch": 14,
    "SignatureEmpty": 14,
    "InvalidHTTPAuthHeader": 14,
    "RequestExpired": 14,
    "RequestReplayed": 14,
    "MalformedJSON": 336002,
    "MethodNotAllowed": 3,
    "InternalError": 336000,
    # QPSLimitReached, which the SDK waits for and asks again.
    TOO_MANY: 18,
}


def v1(action: Action) -> View:
    """The view of one V1 call about models: errors come with status 200 and a number."""

    def view(request: HttpRequest, **path: str) -> HttpResponse:
        log_id = uuid.uuid4().int >> 70
        try:
            result = _carry_out(request, lambda: action)
        except Refused as refusal:
            code = _V1_CODES.get(refusal.code, 336003)
            body = {"log_id": log_id, "error_code": code, "error_msg": _message(refusal)}
            status = _status(request, refusal) if refusal.code == TOO_MANY else HTTPStatus.OK
            return _answer(body, status, refusal)
        return _answer({"log_id": log_id, "result": result})

    return _exempt(view)


def v1_data(action: Action) -> View:
    """The view of one V1 call about datasets, whose envelope has `status` and `success` besides."""

    def view(request: HttpRequest, **path: str) -> HttpResponse:
        log_id = uuid.uuid4().int >> 70
        try:
            result = _carry_out(request, lambda: action)
        except Refused as refusal:
            body: dict[str, Any] = {"log_id": log_id, "status": 400, "success": False}
            body |= {"code": refusal.code, "message": _message(refusal)}
            if refusal.code != TOO_MANY:
                return _answer(body, refused=refusal)
            body |= {"error_code": _V1_CODES[TOO_MANY], "error_msg": _message(refusal)}
            return _answer(body, _status(request, refusal), refusal)
        return _answer({"log_id": log_id, "status": 200, "success": True, "result": result})

    return _exempt(view)


def _exempt(view: View) -> View:
    """The view without a CSRF token, which programs have none of, and with the caller's count in its headers."""

    def counted(request: HttpRequest, **path: str) -> HttpResponse:
        response = view(request, **path)
        add_headers(response, request)
        return response

    return csrf_exempt(counted)


def _status(request: HttpRequest, refusal: Refused) -> int:
    """That of the refusal. One call too many is told the SDK with 200, for only then it reads the number and asks
    again after a while; a status of an error ends its flows."""
    is_sdk = request.headers.get("request-source", "").startswith("qianfan_py_sdk")
    return HTTPStatus.OK if is_sdk and refusal.code == TOO_MANY else refusal.status


def _carry_out(request: HttpRequest, find: Callable[[], Action]) -> Any:
    """Who asks, may they, what exactly, and the result. Raises Refused, also for what nobody thought of."""
    try:
        caller, signature = authenticate(request)
        if request.method != "POST":
            raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", "Only POST is answered here.")
        note_use(caller.key)
        audit.acts(request, caller)
        caller = replace(caller, origin=f"{request.scheme}://{request.get_host()}")
        with translation.override(caller.user.language or translation.get_language()):
            action = find()
            _count(request, caller, action)
            require(caller, action.scope)
            body = read_object(request.body, action.body)
            if not action.creates:
                return action.run(caller, body)
            with transaction.atomic():
                result = action.run(caller, body)
                # Last, so that whoever asks twice in one second hears what stands against it, if anything does.
                refuse_replay(request, signature)
                return result
    except Refused:
        raise
    except RequestDataTooBig as error:
        raise Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "EntityTooLarge", "The body is too large."
        ) from error
    except Exception as error:
        logger.exception("%s", request.get_full_path())
        message = "Something went wrong here; the log of the console says what."
        raise Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError", message) from error


def _count(request: HttpRequest, caller: Caller, action: Action) -> None:
    """Raises Refused for one call too many."""
    count = count_call(f"key-{caller.key.pk}", writes=action.scope != Scope.READ)
    request.rate_count = count  # type: ignore[attr-defined]
    if count and count.is_exceeded:
        raise Refused(HTTPStatus.TOO_MANY_REQUESTS, TOO_MANY, exceeded(count))


def require(caller: Caller, scope: str) -> None:
    """Raises Refused unless key and person may do that much."""
    if not caller.may(scope):
        if not caller.may(Scope.READ) or caller.key.scope in (Scope.ADMIN, scope):
            raise forbidden(_("Viewers cannot change anything in this workspace."))
        raise forbidden(_("This key is limited to “%(scope)s”.") % {"scope": caller.key.get_scope_display()})


def _message(refusal: Refused) -> str:
    """With the name of the field at its end, as Qianfan's messages have it."""
    return f"{refusal.message} param[{refusal.param}] invalid." if refusal.param else refusal.message


def _answer(body: dict[str, Any], status: int = 200, refused: Refused | None = None) -> HttpResponse:
    response = HttpResponse(msgspec.json.encode(body), content_type="application/json", status=status)
    if refused is not None:
        response["X-Bce-Error-Code"] = refused.code
        # The SDK shows it before the body. Header values are one line of ASCII, which Chinese cannot be put into.
        if refused.message.isascii():
            response["X-Bce-Error-Message"] = refused.message.replace("\n", " ")
    return response


# --- What several gateways need ------------------------------------------------------------------------------


class Page(msgspec.Struct, rename="camel"):
    """The fields by which a list is asked for in pieces. `marker` is the ID that the piece begins with."""

    marker: str = ""
    max_keys: int = 10
    page_reverse: bool = False


MOST_KEYS = 100


def page(queryset: Any, asked: Page) -> tuple[list[Any], dict[str, Any]]:
    """A piece of a list of objects that have a `uid`, newest first, and its pageInfo. Raises Refused."""
    size = min(asked.max_keys, MOST_KEYS)
    if size < 1:
        raise invalid("maxKeys must be at least 1.", "maxKeys")
    queryset = queryset.order_by("pk" if asked.page_reverse else "-pk")
    if asked.marker:
        first = queryset.filter(uid=asked.marker).values_list("pk", flat=True).first()
        if first is None:
            raise invalid(f"{asked.marker} is not in this list.", "marker")
        queryset = queryset.filter(**{"pk__gte" if asked.page_reverse else "pk__lte": first})
    found = list(queryset[: size + 1])
    info = {"marker": asked.marker, "maxKeys": size, "isTruncated": len(found) > size}
    if len(found) > size:
        info["nextMarker"] = found[size].uid
    return found[:size], info
