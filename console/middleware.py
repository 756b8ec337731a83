"""The signed-in person's language and time zone; sessions that ended while a page was open."""

from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import resolve_url
from django.utils import timezone, translation


class PreferencesMiddleware:
    """Activates the language and the time zone that the signed-in user chose.

    Runs after LocaleMiddleware, which goes by cookie and browser and serves everybody else.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        user = request.user
        language = getattr(user, "language", "")
        if language:
            translation.activate(language)
            request.LANGUAGE_CODE = translation.get_language()  # type: ignore[attr-defined]
        with timezone.override(ZoneInfo(getattr(user, "time_zone", "") or settings.DISPLAY_TIME_ZONE)):
            return self.get_response(request)


class SignedOutMiddleware:
    """Answers htmx with a plain 401 where anybody else is led to the sign-in page or refused for want of a
    token: that page must not land inside a fragment. The script of the page decides what to do then.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_refused = response.status_code == HTTPStatus.FORBIDDEN or (
            response.status_code == HTTPStatus.FOUND
            and urlsplit(response["Location"]).path == resolve_url(settings.LOGIN_URL)
        )
        if is_refused and "HX-Request" in request.headers and not request.user.is_authenticated:
            return HttpResponse(status=HTTPStatus.UNAUTHORIZED)
        return response
