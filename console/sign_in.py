"""Signing in: the page, what happens to somebody who guesses passwords, and the way into the admin.

django-axes counts failures by user name and address, in the database, where all web processes see them; this module
says for how long somebody has to wait. Keys of programs are no passwords and are not counted (256 random bits).
"""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import urlencode

from axes.models import AccessAttempt
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache

from console.audit import address_of

TEMPLATE = "console/login.html"


class SignInView(LoginView):
    """The form with name and password, the way to the identity provider, or both."""

    template_name = TEMPLATE

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.PASSWORD_SIGN_IN:
            return HttpResponseNotAllowed(["GET", "HEAD", "OPTIONS"])
        return super().post(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        return context | ways_in(context["next"])


def ways_in(target: str) -> dict[str, Any]:
    """What the page offers: a form or none, and the way to the identity provider; `target` opens afterwards."""
    ways: dict[str, Any] = {"password_sign_in": settings.PASSWORD_SIGN_IN}
    if settings.OIDC:
        query = "?" + urlencode({"next": target}) if target else ""
        ways |= {"sso_url": reverse("oidc_start") + query, "sso_name": settings.OIDC.name}
    return ways


class NoPasswords(ModelBackend):
    """For a team that signs in through its identity provider only: no password opens anything, wherever it is sent.
    Permissions and sessions are Django's own."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:  # type: ignore[override]
        return None


def locked_out(request: HttpRequest, response: HttpResponse, credentials: dict[str, Any]) -> HttpResponse:
    """What django-axes answers to whoever failed too often: the page again, which says for how long to wait."""
    seconds = _seconds_left(credentials.get("username") or "", address_of(request))
    minutes = max(1, math.ceil(seconds / 60))
    problem = ngettext(
        "Too many failed attempts for this name. Try again in %(minutes)d minute.",
        "Too many failed attempts for this name. Try again in %(minutes)d minutes.",
        minutes,
    ) % {"minutes": minutes}
    form = AuthenticationForm(request, initial={"username": credentials.get("username")})
    target = request.POST.get("next", "")
    context = {"form": form, "problem": problem, "next": target} | ways_in(target)
    answer = render(request, TEMPLATE, context, status=429)
    add_never_cache_headers(answer)
    answer["Retry-After"] = str(max(1, math.ceil(seconds)))
    return answer


def _seconds_left(username: str, address: str | None) -> float:
    """Until the last failure is forgotten."""
    failures = AccessAttempt.objects.filter(username=username, ip_address=address)
    last = failures.order_by("-attempt_time").values_list("attempt_time", flat=True).first()
    left = last + settings.AXES_COOLOFF_TIME - timezone.now() if last else settings.AXES_COOLOFF_TIME
    return float(left.total_seconds())


@never_cache
def admin_sign_in(request: HttpRequest) -> HttpResponse:
    """The admin has no form of its own: one page signs in, with all that stands above."""
    target = request.GET.get("next") or reverse("admin:index")
    if admin.site.has_permission(request):
        return HttpResponseRedirect(reverse("admin:index"))
    if request.user.is_authenticated:
        raise PermissionDenied(_("Only operators enter the administration."))
    return redirect_to_login(target)
