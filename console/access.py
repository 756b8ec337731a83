"""Who sees what. Every look-up of an object starts from the signed-in user.

Strangers get 404 (they must not learn that the object exists), viewers who try to change something 403.
"""

from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from console.models import Membership, User, Workspace

SESSION_KEY = "workspace"
M = TypeVar("M", bound=Model)


def memberships(request: HttpRequest) -> list[Membership]:
    """The signed-in user's memberships with their workspaces, by name; read once a request."""
    cached: list[Membership] | None = getattr(request, "_memberships", None)
    if cached is None:
        own = Membership.objects.filter(user=request.user).select_related("workspace")  # type: ignore[misc]
        cached = list(own.order_by("workspace__name", "pk"))
        request._memberships = cached  # type: ignore[attr-defined]
    return cached


def current_membership(request: HttpRequest) -> Membership:
    """The membership in the workspace chosen in the header, else in the first one.

    Raises Http404 for a user without any workspace.
    """
    own = memberships(request)
    if not own:
        raise Http404(_("You do not belong to any workspace yet. Ask an owner of one to add you."))
    chosen = request.session.get(SESSION_KEY)
    return next((item for item in own if item.workspace_id == chosen), own[0])


def current_workspace(request: HttpRequest) -> Workspace:
    """The workspace whose lists the user looks at."""
    return current_membership(request).workspace


def writable_workspace(request: HttpRequest) -> Workspace:
    """The current workspace; raises PermissionDenied if the user only reads there."""
    membership = current_membership(request)
    if not membership.can_write:
        raise PermissionDenied(_("Viewers cannot change anything in this workspace."))
    return membership.workspace


def may_write(request: HttpRequest, workspace_id: int) -> bool:
    """Whether the user may change things in a workspace, which need not be the current one."""
    return any(item.can_write for item in memberships(request) if item.workspace_id == workspace_id)


def visible(queryset: QuerySet[M], user: User, path: str = "workspace") -> QuerySet[M]:
    """Narrows a queryset to the user's workspaces; `path` leads from the model to its workspace."""
    return queryset.filter(**{f"{path}__memberships__user": user})


def get_visible(queryset: QuerySet[M], user: User, path: str = "workspace", **lookup: object) -> M:
    """Returns one object of the user's workspaces; raises Http404 otherwise."""
    return get_object_or_404(visible(queryset, user, path), **lookup)


def get_writable(queryset: QuerySet[M], user: User, path: str = "workspace", **lookup: object) -> M:
    """Returns one object that the user may change.

    Raises Http404 outside the user's workspaces and PermissionDenied for viewers.
    """
    found = get_visible(queryset, user, path, **lookup)
    workspace: Any = found
    for step in path.split("__"):
        workspace = getattr(workspace, step)
    membership = Membership.objects.get(user=user, workspace=workspace)
    if not membership.can_write:
        raise PermissionDenied(_("Viewers cannot change anything in this workspace."))
    return found
