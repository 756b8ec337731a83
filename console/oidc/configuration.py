"""What the operator says about the identity provider."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from console import env

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ROLES = ("viewer", "member", "owner")


@dataclass(frozen=True)
class Issuer:
    """`workspace` is the name of the one that people enter with `role` when they come for the first time; `operators`
    the group whose people are operators (both empty: none)."""

    address: str
    client_id: str
    client_secret: str
    name: str
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    workspace: str = ""
    role: str = ROLES[0]
    operators: str = ""
    matches_email: bool = False


def read() -> Issuer | None:
    """The issuer of the environment, None where there is none; raises ImproperlyConfigured."""
    address = env.text("OIDC_ISSUER").strip().rstrip("/")
    if not address:
        return None
    url = urlsplit(address)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
        raise ImproperlyConfigured(f"OIDC_ISSUER must start with https://, not {address!r}")
    client_id = env.text("OIDC_CLIENT_ID")
    if not client_id:
        raise ImproperlyConfigured("OIDC_ISSUER needs OIDC_CLIENT_ID")
    return Issuer(
        address=address,
        client_id=client_id,
        client_secret=env.text("OIDC_CLIENT_SECRET"),
        name=env.text("OIDC_NAME") or url.hostname or address,
        scopes=tuple(dict.fromkeys(["openid", *env.words("OIDC_SCOPES", "profile,email")])),
        workspace=env.text("OIDC_WORKSPACE").strip(),
        role=env.choice("OIDC_ROLE", ROLES[0], ROLES),
        operators=env.text("OIDC_OPERATORS").strip(),
        matches_email=env.boolean("OIDC_MATCH_EMAIL", False),
    )


def issuer() -> Issuer:
    """The one in force, for what is reached only where there is one."""
    assert settings.OIDC is not None
    return settings.OIDC
