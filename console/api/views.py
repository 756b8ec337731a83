"""The page of API keys: make one, see what they are for and when they were used, revoke them."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from console.access import current_membership
from console.api import keys
from console.api.forms import KeyForm
from console.models import ApiKey, Membership, Role


@require_GET
@login_required
def api_keys(request: HttpRequest) -> HttpResponse:
    """The person's keys in this workspace; its owners see and revoke those of everybody."""
    return render(request, "console/api_keys.html", _context(request, KeyForm(may_write=_may_write(request))))


@require_POST
@login_required
@never_cache
def create(request: HttpRequest) -> HttpResponse:
    """Makes a key. The answer is the only page that ever shows its secrets."""
    form = KeyForm(request.POST, may_write=_may_write(request))
    if not form.is_valid():
        return render(request, "console/api_keys.html", _context(request, form), status=422)
    workspace = current_membership(request).workspace
    try:
        key, made = keys.issue(request.user, workspace, **form.cleaned_data)  # type: ignore[arg-type]
    except keys.KeyRefused as refusal:
        form.add_error(None, str(refusal))
        return render(request, "console/api_keys.html", _context(request, form), status=422)
    context = _context(request, KeyForm(may_write=_may_write(request)))
    return render(request, "console/api_keys.html", context | {"new_key": key, "made": made})


@require_POST
@login_required
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Ends a key at once."""
    key = get_object_or_404(_keys(current_membership(request)), pk=pk)
    keys.revoke(key)
    messages.success(request, _("“%(name)s” was revoked; it is refused from now on.") % {"name": key.name})
    return redirect("api_keys")


def _may_write(request: HttpRequest) -> bool:
    return current_membership(request).can_write


def _keys(membership: Membership) -> QuerySet[ApiKey]:
    """The keys that a member looks after."""
    found = ApiKey.objects.filter(workspace=membership.workspace).select_related("user")
    return found if membership.role == Role.OWNER else found.filter(user=membership.user)


def _context(request: HttpRequest, form: KeyForm) -> dict[str, Any]:
    membership = current_membership(request)
    return {
        "nav": "api_keys",
        "form": form,
        "keys": list(keys.active(_keys(membership))),
        "base_url": f"{request.scheme}://{request.get_host()}",
        "shows_owner": membership.role == Role.OWNER,
    }
