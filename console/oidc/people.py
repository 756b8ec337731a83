"""Whose account it is that the issuer speaks of: found again, made, let into a workspace. Hooks of allauth."""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialLogin
from allauth.socialaccount.providers.base import AuthError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from console.models import Membership, User, Workspace
from console.oidc.configuration import issuer
from console.oidc.pages import failed
from console.oidc.provider import Provider

logger = logging.getLogger(__name__)


class Accounts(DefaultAccountAdapter):  # type: ignore[misc]
    """What allauth does for signing in, without its messages and pages."""

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the page that opens says enough."""

    def respond_user_inactive(self, request: HttpRequest, user: User) -> HttpResponse:
        return failed(request, _("Your account here is switched off. An operator can switch it on again."))


class People(DefaultSocialAccountAdapter):  # type: ignore[misc]
    """An account belongs to the issuer's subject, which never changes; names and addresses do."""

    def get_provider(self, request: HttpRequest, provider: str, client_id: str | None = None) -> Provider:
        return Provider(request)

    def authenticate_by_email(self, sociallogin: SocialLogin) -> tuple[User, str] | None:
        """An account that is there already, where the operator allows it, the issuer says that it has checked the
        address, one account alone has it, and nobody else of the issuer owns that. allauth then removes the password
        of the account: whoever made it might have entered an address that is not theirs."""
        if not issuer().matches_email:
            return None
        for address in (item.email for item in sociallogin.email_addresses if item.verified):
            found = list(User.objects.filter(email__iexact=address, is_active=True)[:2])
            taken = SocialAccount.objects.filter(user__in=found, provider=sociallogin.account.provider)
            if len(found) == 1 and not taken.exists():
                return found[0], address
        return None

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Makes an operator, or no longer one, of somebody whose groups say so; every time they sign in."""
        if not issuer().operators:
            return
        user = sociallogin.user
        is_operator = issuer().operators in _groups(sociallogin)
        if (user.is_staff, user.is_superuser) != (is_operator, is_operator):
            user.is_staff = user.is_superuser = is_operator
            if user.pk:
                user.save(update_fields=["is_staff", "is_superuser"])

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: object = None) -> User:
        """Makes the account of somebody who comes for the first time, and lets them into the workspace for it."""
        user: User = sociallogin.user
        user.set_unusable_password()
        Accounts(request).populate_username(request, user)
        with transaction.atomic():
            user.save()
            sociallogin.account.user = user
            sociallogin.account.save()
            _enter(user)
        return user

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Provider,
        error: str | None = None,
        exception: Exception | None = None,
        extra_context: object = None,
    ) -> None:
        if error == AuthError.CANCELLED:
            raise ImmediateHttpResponse(
                failed(request, _("You did not allow it there. Nothing has happened."))
            )
        logger.warning("Sign-in through %s failed: %.500s", issuer().address, exception or error)
        raise ImmediateHttpResponse(failed(request))


def _groups(sociallogin: SocialLogin) -> list[Any]:
    """What the claim "groups" of ID token and userinfo lists."""
    found: list[Any] = []
    for claims in sociallogin.account.extra_data.values():
        groups = claims.get("groups") or []
        found += [groups] if isinstance(groups, str) else groups
    return found


def _enter(user: User) -> None:
    """Lets a new account into the workspace that the operator named."""
    if not issuer().workspace:
        return
    found = list(Workspace.objects.filter(name=issuer().workspace)[:2])
    if len(found) == 1:
        Membership.objects.create(user=user, workspace=found[0], role=issuer().role)
    else:
        logger.warning(
            "OIDC_WORKSPACE: %s workspace is called %r",
            "more than one" if found else "no",
            issuer().workspace,
        )
