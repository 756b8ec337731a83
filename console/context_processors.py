"""What every page of the shell shows: the workspaces to choose from."""

from functools import partial
from typing import Any

from django.http import Http404, HttpRequest

from console.access import current_membership, memberships
from console.models import Role, User
from console.notifications.reading import unread_count


def shell(request: HttpRequest) -> dict[str, Any]:
    """Adds workspace, workspaces, can_write, is_owner, unread (of the bell) and theme; for visitors only the theme."""
    user = getattr(request, "user", None)
    if not isinstance(user, User):
        return {"theme": "auto"}
    try:
        membership = current_membership(request)
    except Http404:
        return {"theme": user.theme, "workspaces": [], "can_write": False, "unread": 0}
    return {
        "theme": user.theme,
        "workspace": membership.workspace,
        "workspaces": [item.workspace for item in memberships(request)],
        "can_write": membership.can_write,
        "is_owner": membership.role == Role.OWNER,
        # Called by the bell alone: fragments have none.
        "unread": partial(unread_count, user),
    }
