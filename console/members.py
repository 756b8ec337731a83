"""Who is in a workspace: people are added, given another role, and leave. The page and the own API both come here.

Every change locks the workspace's row first, so that two owners who act at the same moment are taken one after the
other: whoever acts is an owner at that moment, and a workspace never loses its last one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.utils.translation import gettext as _

from console import rate_limits
from console.api import keys
from console.models import ApiKey, Membership, Role, User, Workspace

# Names that one person may try out a minute: enough for adding a team, too few for finding out who is there.
LOOKUPS_A_MINUTE = 10


class MembersRefused(Exception):
    """A change that is not made; the text says why, for the person, and `field` where it belongs."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class TooManyLookups(MembersRefused):
    """Somebody tries out names; the text says for how long to wait."""


def of_workspace(workspace: Workspace) -> QuerySet[Membership]:
    """Everybody in it: owners, then members, then viewers, each by name."""
    found = Membership.objects.filter(workspace=workspace).select_related("user")
    ranks = [When(role=role, then=Value(rank)) for rank, role in enumerate(Role.values)]
    return found.order_by(Case(*ranks, output_field=IntegerField()), "user__username")


def add(workspace: Workspace, actor: User, person: str, role: str) -> Membership:
    """Lets a person in, named by user name or e-mail address, as it stands in the account.

    The refusal is the same for whoever is not there, is switched off, or shares an address with another: an owner
    learns that such an account exists by adding it, and by nothing else.
    Raises MembersRefused, and PermissionDenied for somebody who does not own the workspace.
    """
    count = rate_limits.count(f"members:{actor.pk}", LOOKUPS_A_MINUTE)
    if count and count.is_exceeded:
        text = _("Too many attempts. Try again in %(seconds)d seconds.")
        raise TooManyLookups(text % {"seconds": count.reset}, "person")
    with _changing(workspace, actor):
        user = _find(person)
        if user is None:
            raise MembersRefused(_("No account has exactly this user name or e-mail address."), "person")
        membership, is_new = Membership.objects.get_or_create(
            user=user, workspace=workspace, defaults={"role": role}
        )
        if not is_new:
            raise MembersRefused(_("This person is in the workspace already."), "person")
        return membership


def change_role(membership: Membership, actor: User, role: str) -> None:
    """Gives a person another role; their keys may do no more than it from the next call on.

    Raises MembersRefused for the last owner, and PermissionDenied for somebody who does not own the workspace.
    """
    with _changing(membership.workspace, actor):
        current = _current(membership)
        if role != Role.OWNER:
            _keep_an_owner(current)
        current.role = role
        current.save(update_fields=["role"])


def remove(membership: Membership, actor: User) -> None:
    """Ends a membership, somebody's own or (owners) another's. What they made stays, and their runs go on; their
    keys here are revoked, so that they do not come back to life with the person.

    Raises MembersRefused for the last owner, and PermissionDenied for somebody who does not own the workspace.
    """
    with _changing(membership.workspace, actor, is_own=membership.user_id == actor.pk):
        current = _current(membership)
        _keep_an_owner(current)
        for key in keys.active(ApiKey.objects.filter(user=current.user, workspace=current.workspace)):
            keys.revoke(key)
        current.delete()


@contextmanager
def _changing(workspace: Workspace, actor: User, is_own: bool = False) -> Iterator[None]:
    """A transaction that holds the workspace, in which the actor is known to be an owner (or to act for themselves)."""
    with transaction.atomic():
        Workspace.objects.select_for_update().get(pk=workspace.pk)
        owns = Membership.objects.filter(workspace=workspace, user=actor, role=Role.OWNER).exists()
        if not (owns or is_own):
            raise PermissionDenied(_("Only owners of the workspace decide who is in it."))
        yield


def _current(membership: Membership) -> Membership:
    """The membership as it is now, under the lock; raises MembersRefused if it has ended meanwhile."""
    found = Membership.objects.select_related("user", "workspace").filter(pk=membership.pk).first()
    if found is None:
        raise MembersRefused(_("This person is no longer in the workspace."))
    return found


def _keep_an_owner(membership: Membership) -> None:
    """Raises MembersRefused for the only owner left. One whose account is switched off does not count."""
    if membership.role != Role.OWNER:
        return
    owners = Membership.objects.filter(workspace=membership.workspace, role=Role.OWNER, user__is_active=True)
    if not owners.exclude(pk=membership.pk).exists():
        raise MembersRefused(_("A workspace needs an owner. Make somebody else one first."), "role")


def _find(person: str) -> User | None:
    """The one account in use with that user name or e-mail address."""
    # PostgreSQL cannot be asked for a text with NUL.
    if not person or "\0" in person:
        return None
    usable = User.objects.filter(is_active=True)
    named = usable.filter(username=person).first()
    if named or "@" not in person:
        return named
    found = list(usable.filter(email__iexact=person)[:2])
    return found[0] if len(found) == 1 else None
