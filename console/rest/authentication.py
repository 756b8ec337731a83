"""Who calls the own API: a key in the header, or (the page that describes it) the session of a signed-in person."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest
from django.utils import translation
from django.utils.translation import gettext as _
from ninja.security.base import AuthBase
from ninja.utils import check_csrf

from console import audit
from console.access import current_membership
from console.api.keys import Caller, caller_by_token, caller_of_session, note_use
from console.api.qianfan import require
from console.models import Scope
from console.rate_limits import count_call, exceeded
from console.rest.errors import Rejected

# What changes nothing.
READING = ("GET", "HEAD")


class ApiRequest(HttpRequest):
    """A request of the own API; `auth` is who calls."""

    auth: Caller


class Key(AuthBase):
    """A key of the page “API keys”: Authorization: Bearer sk-…"""

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_description = "A key of the page “API keys”."

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> Any | None:
        scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
        caller = caller_by_token(token.strip()) if scheme.lower() == "bearer" and token else None
        if caller is None:
            return None
        note_use(caller.key)
        audit.acts(request, caller)
        if "Accept-Language" not in request.headers and caller.user.language:
            # Ended by console.rest.urls, where the request's own language began.
            translation.activate(caller.user.language)
        return _admitted(request, caller, f"key-{caller.key.pk}", self.scope)


class Session(AuthBase):
    """A signed-in person in the workspace that is chosen; what changes something needs the CSRF token as well."""

    openapi_type = "apiKey"
    openapi_in = "cookie"
    openapi_name = "sessionid"
    openapi_description = "The session of a signed-in person; changes need X-CSRFToken as well."

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> Any | None:
        # A key that is refused is not made good by a cookie that comes along.
        if "Authorization" in request.headers or not request.user.is_authenticated:
            return None
        if request.method not in READING and check_csrf(request):
            raise Rejected(HTTPStatus.FORBIDDEN, _("The CSRF token is missing or wrong. Load the page anew."))
        caller = caller_of_session(request.user, current_membership(request))
        return _admitted(request, caller, f"user-{caller.user.pk}", self.scope)


def _admitted(request: HttpRequest, caller: Caller, name: str, scope: str) -> Caller:
    """The caller, counted. Raises Rejected where there were too many calls, Refused where this is too much."""
    count = count_call(name, writes=request.method not in READING)
    request.rate_count = count  # type: ignore[attr-defined]
    if count and count.is_exceeded:
        raise Rejected(HTTPStatus.TOO_MANY_REQUESTS, exceeded(count))
    require(caller, scope)
    return caller


def needs(scope: str) -> list[AuthBase]:
    """For `auth=` of an endpoint: either way of signing in, with that much allowed."""
    return [Key(scope), Session(scope)]


READ, WRITE, ADMIN = needs(Scope.READ), needs(Scope.WRITE), needs(Scope.ADMIN)
