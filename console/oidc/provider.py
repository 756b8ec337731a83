"""The exchange with the issuer: allauth's, with what OpenID Connect asks for and allauth leaves open."""

from __future__ import annotations

from typing import Any

from allauth.socialaccount.models import SocialApp, SocialLogin, SocialToken
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest
from django.urls import reverse

from console.oidc.configuration import issuer


class Exchange(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """Speaks with the endpoints that the issuer's own document names."""

    def get_provider(self) -> Provider:
        return Provider(self.request)

    @property
    def openid_config(self) -> dict[str, Any]:
        """The document of the issuer. Raises OAuth2Error if it speaks for another one (Discovery 1.0, 4.3)."""
        found: dict[str, Any] = super().openid_config
        if str(found.get("issuer", "")).rstrip("/") != issuer().address:
            raise OAuth2Error(f"{issuer().address} calls itself {found.get('issuer')!r}")
        return found

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return request.build_absolute_uri(reverse("oidc_callback"))

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: SocialToken, **kwargs: Any
    ) -> SocialLogin:
        """The claims of the ID token and of the userinfo endpoint, if there is one. Raises OAuth2Error if there is no
        ID token, or if the two speak of different people (Core 1.0, 5.3.2)."""
        app.settings["fetch_userinfo"] = "userinfo_endpoint" in self.openid_config
        login = super().complete_login(request, app, token, **kwargs)
        claims, told = (login.account.extra_data.get(key) for key in ("id_token", "userinfo"))
        if not claims or (told and told.get("sub") != claims["sub"]):
            raise OAuth2Error("There is no ID token, or it is somebody else's.")
        return login


class Provider(OpenIDConnectProvider):  # type: ignore[misc]
    """The issuer of the settings. Accounts are kept under its address and its subject, so that another issuer's
    subjects are other people."""

    oauth2_adapter_class = Exchange

    def __init__(self, request: HttpRequest) -> None:
        found = issuer()
        app = SocialApp(
            provider=self.id,
            provider_id=found.address,
            name=found.name,
            client_id=found.client_id,
            secret=found.client_secret,
            settings={
                "server_url": f"{found.address}/.well-known/openid-configuration",
                "scope": found.scopes,
                "oauth_pkce_enabled": True,
            },
        )
        super().__init__(request, app=app)
