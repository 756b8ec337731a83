"""The page of a workspace's members: everybody in it sees who is there, owners decide who is, anybody may leave."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from console import members
from console.access import current_membership
from console.forms import MemberForm, RoleForm
from console.htmx import HtmxHttpRequest
from console.models import Membership, Role


@require_GET
@login_required
def members_page(request: HttpRequest) -> HttpResponse:
    """Who is in the current workspace."""
    return render(request, "console/members.html", _context(request, MemberForm()))


@require_POST
@login_required
def add(request: HtmxHttpRequest) -> HttpResponse:
    """An owner lets somebody in."""
    workspace = _owned(request).workspace
    form = MemberForm(request.POST)
    if form.is_valid():
        try:
            added = members.add(workspace, request.user, **form.cleaned_data)
        except members.MembersRefused as refusal:
            form.add_error(refusal.field or None, str(refusal))
        else:
            messages.success(request, _("“%(name)s” is in the workspace now.") % {"name": added.user})
            return redirect("members")
    return render(request, "console/members.html", _context(request, form), status=422)


@require_POST
@login_required
def change(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """An owner gives somebody another role."""
    _owned(request)
    membership, form = _find(request, pk), RoleForm(request.POST)
    if not form.is_valid():
        return _told(request, _("Choose one of the roles."))
    try:
        members.change_role(membership, request.user, form.cleaned_data["role"])
    except members.MembersRefused as refusal:
        return _told(request, str(refusal))
    label = Role(form.cleaned_data["role"]).label
    messages.success(request, _("“%(name)s”: %(role)s") % {"name": membership.user, "role": label})
    return redirect("members")


@require_POST
@login_required
def remove(request: HtmxHttpRequest, pk: int) -> HttpResponse:
    """An owner removes somebody, or a person leaves."""
    membership = _find(request, pk)
    try:
        members.remove(membership, request.user)
    except members.MembersRefused as refusal:
        return _told(request, str(refusal))
    names = {"name": membership.user, "workspace": membership.workspace.name}
    if membership.user_id == request.user.pk:
        messages.success(request, _("You have left “%(workspace)s”.") % names)
        return redirect("home")
    messages.success(request, _("“%(name)s” is no longer in the workspace.") % names)
    return redirect("members")


def _owned(request: HttpRequest) -> Membership:
    """The current membership; raises PermissionDenied for those who do not own the workspace."""
    membership = current_membership(request)
    if membership.role != Role.OWNER:
        raise PermissionDenied(_("Only owners of the workspace decide who is in it."))
    return membership


def _find(request: HttpRequest, pk: int) -> Membership:
    """A membership of the current workspace; Http404 for any other."""
    people = Membership.objects.select_related("user", "workspace")
    return get_object_or_404(people, workspace=current_membership(request).workspace, pk=pk)


def _told(request: HttpRequest, problem: str) -> HttpResponse:
    """The page again, with what stands in the way of a button at its top."""
    context = _context(request, MemberForm()) | {"problem": problem}
    return render(request, "console/members.html", context, status=422)


def _context(request: HttpRequest, form: MemberForm) -> dict[str, Any]:
    membership = current_membership(request)
    return {
        "nav": "members",
        "form": form,
        "members": list(members.of_workspace(membership.workspace)),
        "own": membership,
        "roles": Role.choices,
    }
