"""Addresses of the own API, and what all of its answers have in common."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, re_path
from django.utils import translation
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from console.rate_limits import add_headers
from console.rest import docs, errors
from console.rest.api import api

View = Callable[..., HttpResponseBase]


def shaped(view: View) -> View:
    """The view with our kind of error where Django answers by itself, the caller's count, and its language ended."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with translation.override(translation.get_language()):
            response = view(request, *args, **kwargs)
            if isinstance(response, HttpResponseNotAllowed):
                allowed = response["Allow"]
                response = errors.response(HTTPStatus.METHOD_NOT_ALLOWED)
                response["Allow"] = allowed
        add_headers(response, request)
        response["X-Request-ID"] = uuid.uuid4().hex
        return response

    return csrf_exempt(answer)


def unknown(request: HttpRequest) -> HttpResponseBase:
    return errors.response(HTTPStatus.NOT_FOUND)


def _patterns() -> list[URLPattern]:
    """django-ninja's addresses, as ours."""
    patterns = [pattern for pattern in api.urls[0] if isinstance(pattern, URLPattern)]
    for pattern in patterns:
        pattern.callback = shaped(pattern.callback)
    return [pattern for pattern in patterns if pattern.name != "api-root"]


app_name = "rest"
urlpatterns = [
    # The name by which django-ninja finds out where all of this lies.
    path("", RedirectView.as_view(pattern_name="rest:docs"), name="api-root"),
    path("docs", docs.page, name="docs"),
    *_patterns(),
    # Line ends too, which <path:> has none of.
    re_path(r"", shaped(unknown)),
]
