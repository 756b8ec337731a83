"""The two addresses: away to the issuer, and back from it."""

from __future__ import annotations

import logging
from http import HTTPStatus

from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from requests import RequestException

from console.oidc.configuration import issuer
from console.oidc.provider import Exchange, Provider

logger = logging.getLogger(__name__)
# An issuer that is away, says no, or leaves something out; and two first sign-ins of one person at the same moment.
FAILURES = (RequestException, OAuth2Error, KeyError, IntegrityError)


@require_GET
@never_cache
def start(request: HttpRequest) -> HttpResponse:
    """Leads to the issuer. A link and no form: the policy of our pages (form-action) lets forms stay here, and that
    somebody is led there does no harm; what comes back is bound to this session by state and PKCE."""
    target = request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    try:
        response: HttpResponse = Provider(request).redirect(
            request, process=AuthProcess.LOGIN, next_url=target if is_ours else None
        )
    except FAILURES as error:
        return _unreachable(request, error)
    return response


@require_GET
@never_cache
def callback(request: HttpRequest) -> HttpResponse:
    """Back from the issuer, with a code or a refusal."""
    view = OAuth2CallbackView.adapter_view(Exchange(request, issuer().address))
    try:
        response: HttpResponse = view(request)
    except FAILURES as error:
        return _unreachable(request, error)
    return response


def _unreachable(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.warning("Sign-in through %s failed: %r", issuer().address, error)
    return failed(request, status=HTTPStatus.BAD_GATEWAY)


def failed(request: HttpRequest, reason: str = "", status: int = HTTPStatus.FORBIDDEN) -> HttpResponse:
    """The page for somebody who did not get in."""
    reason = reason or _(
        "Try again in a moment; if it stays, tell your administrator. The log of the console says why."
    )
    context = {"reason": reason, "name": issuer().name}
    return render(request, "console/sign_in_failed.html", context, status=status)
