"""API keys: made, found again, encrypted and hashed.

A token is random enough (256 bits) that a plain SHA-256 keeps it secret. The secret key has to be read again, to
check a signature, and is encrypted (console/secrets.py).
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.translation import gettext as _

from console.models import SCOPES, WRITING_ROLES, ApiKey, Membership, Scope, User, Workspace
from console.secrets import API_KEYS, decrypt, encrypt

TOKEN_PREFIX = "sk-"  # noqa: S105  (what tokens begin with)
MOST_KEYS = 50
# The last use is written at most this often: not every call of a busy program writes a row.
USE_NOTED_EVERY = timedelta(minutes=1)


class KeyRefused(Exception):
    """A key that may not be made; the text says why, for the user."""


@dataclass(frozen=True)
class Credentials:
    """What is shown once, when a key is made."""

    access_key: str
    secret_key: str
    token: str


@dataclass(frozen=True)
class Caller:
    """Who calls: a key, and what its owner is in the workspace."""

    key: ApiKey
    role: str
    # The address under which the caller knows the console, for links in answers.
    origin: str = ""

    @property
    def user(self) -> User:
        return self.key.user

    @property
    def workspace(self) -> Workspace:
        return self.key.workspace

    def may(self, scope: str) -> bool:
        """Whether both the key and its owner are allowed that much."""
        allowed = SCOPES.index(Scope(self.key.scope)) >= SCOPES.index(Scope(scope))
        return allowed and (scope == Scope.READ or self.role in WRITING_ROLES)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def issue(user: User, workspace: Workspace, name: str, scope: str) -> tuple[ApiKey, Credentials]:
    """Makes a key for a member of the workspace; raises KeyRefused."""
    membership = Membership.objects.filter(user=user, workspace=workspace).first()
    if membership is None or (scope != Scope.READ and not membership.can_write):
        raise KeyRefused(_("You can only read in this workspace, and so can your keys."))
    if active(ApiKey.objects.filter(user=user, workspace=workspace)).count() >= MOST_KEYS:
        raise KeyRefused(_("You have %(count)d keys here already. Revoke one first.") % {"count": MOST_KEYS})
    made = Credentials(
        access_key=secrets.token_hex(16),
        secret_key=secrets.token_hex(32),
        token=TOKEN_PREFIX + secrets.token_urlsafe(32),
    )
    key = ApiKey.objects.create(
        user=user,
        workspace=workspace,
        name=name,
        scope=scope,
        access_key=made.access_key,
        secret=encrypt(made.secret_key, API_KEYS),
        token_hash=_hash(made.token),
        token_hint=made.token[-4:],
    )
    return key, made


def revoke(key: ApiKey) -> None:
    """Ends a key; the next request with it is refused."""
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])  # which the audit log records


def active(keys: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    return keys.filter(revoked_at=None)


def caller_by_access_key(access_key: str) -> Caller | None:
    return _find(Q(access_key=access_key)) if access_key.isalnum() else None


def caller_by_token(token: str) -> Caller | None:
    return _find(Q(token_hash=_hash(token)))


def caller_by_id(pk: int) -> Caller | None:
    """For addresses that were made for a caller."""
    return _find(Q(pk=pk))


def caller_of_session(user: User, membership: Membership) -> Caller:
    """A signed-in person as a caller: with a key that is nowhere kept, and may do what its owner may."""
    key = ApiKey(user=user, workspace=membership.workspace, scope=Scope.ADMIN)
    return Caller(key, membership.role)


def _find(condition: Q) -> Caller | None:
    """The caller of a key in force, whose owner is still a member of the workspace: one query."""
    membership = Membership.objects.filter(user=OuterRef("user"), workspace=OuterRef("workspace"))
    keys = ApiKey.objects.filter(condition, user__is_active=True, revoked_at=None)
    keys = keys.select_related("user", "workspace").annotate(role=Subquery(membership.values("role")[:1]))
    key = keys.first()
    return Caller(key, key.role) if key and key.role else None


def secret_of(key: ApiKey) -> str:
    """The secret key in clear. Raises InvalidToken where SECRET_KEY was changed without a fallback."""
    return decrypt(key.secret, API_KEYS)


def note_use(key: ApiKey) -> None:
    now = timezone.now()
    if key.last_used_at is None or now - key.last_used_at > USE_NOTED_EVERY:
        ApiKey.objects.filter(pk=key.pk).update(last_used_at=now)
