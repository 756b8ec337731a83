"""Webhooks of a workspace, for its owners: where events are sent, what became of it, once more."""

from __future__ import annotations

from typing import Any

import msgspec
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers
from xxhash import xxh3_64_hexdigest

from console.access import current_membership, get_visible, memberships
from console.htmx import HtmxHttpRequest, wants_fragment
from console.models import Role, Workspace
from console.notifications import webhooks
from console.notifications.forms import WebhookForm
from console.notifications.kinds import KINDS
from console.notifications.models import Delivery, Webhook
from console.notifications.outbox import problem_text

DELIVERIES_SHOWN = 30


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@never_cache
def webhook_list(request: HtmxHttpRequest) -> HttpResponse:
    """The webhooks, and the form of another one. The answer that made it is the only page that shows its secret."""
    workspace = _own_workspace(request)
    form = WebhookForm(request.POST or None, workspace=workspace)
    context: dict[str, Any] = {"form": form, "nav": "notifications"}
    if request.method == "POST" and form.is_valid():
        context |= {"made": webhooks.set_secret(form.instance), "webhook": form.save()}
        context["form"] = WebhookForm(workspace=workspace)
    context["webhooks"] = Webhook.objects.filter(workspace=workspace)
    return render(request, "console/notifications/webhooks.html", context, status=422 if form.errors else 200)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@vary_on_headers("HX-Request")
def webhook(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """One webhook: its form and what was sent; for htmx the latter alone, 204 while that is what `?shown=` names (so
    that what somebody has unfolded stays open)."""
    found = _webhook(request, uid)
    if request.method == "GET" and wants_fragment(request):
        part = _deliveries(request, found)
        if request.GET.get("shown") == part["token"]:
            return HttpResponse(status=204)
        return render(request, "console/notifications/_deliveries.html", part)
    form = WebhookForm(request.POST or None, instance=found, workspace=found.workspace)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect("webhook", uid=uid)
    context = _page(request, found, form)
    return render(request, "console/notifications/webhook.html", context, status=422 if form.errors else 200)


@require_POST
@login_required
@never_cache
def new_secret(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Another secret from now on; this page alone shows it."""
    found = _webhook(request, uid)
    made = webhooks.set_secret(found)
    found.save(update_fields=["secret"])
    form = WebhookForm(instance=found, workspace=found.workspace)
    context = _page(request, found, form) | {"made": made}
    return render(request, "console/notifications/webhook.html", context)


@require_POST
@login_required
def test(request: HtmxHttpRequest, uid: str) -> HttpResponseRedirect:
    """Sends something that is no event."""
    webhooks.test(_webhook(request, uid))
    messages.success(request, _("A test is being sent. What becomes of it stands under “Deliveries”."))
    return redirect("webhook", uid=uid)


@require_POST
@login_required
def send_again(request: HtmxHttpRequest, uid: str, delivery: str) -> HttpResponseRedirect:
    """Sends what was sent before, or could not be."""
    found = get_object_or_404(_webhook(request, uid).deliveries, uid=delivery)
    if webhooks.send_again(found):
        messages.success(request, _("It is being sent again."))
    else:
        messages.info(request, _("It is being sent already."))
    return redirect("webhook", uid=uid)


@require_POST
@login_required
def delete(request: HtmxHttpRequest, uid: str) -> HttpResponseRedirect:
    """Deletes a webhook with its secret and the record of what was sent."""
    found = _webhook(request, uid)
    found.delete()
    messages.success(request, _("%(name)s was deleted.") % {"name": found.name})
    return redirect("webhooks")


def _own_workspace(request: HtmxHttpRequest) -> Workspace:
    """The current workspace; raises PermissionDenied for those who do not own it: addresses tell secrets."""
    membership = current_membership(request)
    if membership.role != Role.OWNER:
        raise PermissionDenied(_("Only owners of the workspace see its webhooks."))
    return membership.workspace


def _webhook(request: HtmxHttpRequest, uid: str) -> Webhook:
    """A webhook of a workspace that the person owns; raises Http404 for strangers, PermissionDenied for members."""
    if "\0" in uid:
        raise Http404
    found = get_visible(Webhook.objects.select_related("workspace"), request.user, uid=uid)
    roles = {item.workspace_id: item.role for item in memberships(request)}
    if roles[found.workspace_id] != Role.OWNER:
        raise PermissionDenied(_("Only owners of the workspace see its webhooks."))
    return found


def _page(request: HtmxHttpRequest, found: Webhook, form: WebhookForm) -> dict[str, Any]:
    return {"webhook": found, "form": form, "nav": "notifications", **_deliveries(request, found)}


def _deliveries(request: HtmxHttpRequest, found: Webhook) -> dict[str, Any]:
    """A piece of what was sent, newest first, behind the one named by `?after=`."""
    rows = found.deliveries.select_related("notification__workspace").order_by("-pk")
    after = request.GET.get("after", "")
    if after.isdecimal() and len(after) < 19:
        rows = rows.filter(pk__lt=int(after))
    cut = list(rows[: DELIVERIES_SHOWN + 1])
    shown = cut[:DELIVERIES_SHOWN]
    return {
        "webhook": found,
        "deliveries": [_row(found, item) for item in shown],
        "next": shown[-1].pk if len(cut) > DELIVERIES_SHOWN else None,
        "is_first": not after,
        "is_active": any(item.is_waiting for item in shown),
        "token": _token(shown),
    }


def _token(shown: list[Delivery]) -> str:
    """Changes whenever what the table shows of these does."""
    states = [(item.pk, item.state, item.attempts, item.due_at) for item in shown]
    return xxh3_64_hexdigest(str(states).encode())


def _row(found: Webhook, delivery: Delivery) -> dict[str, Any]:
    delivery.webhook = found
    kind = KINDS.get(delivery.notification.kind) if delivery.notification else None
    body = msgspec.json.format(msgspec.json.encode(webhooks.payload(delivery)), indent=2).decode()
    log = [item | {"at": parse_datetime(item["at"])} for item in reversed(delivery.log)]
    return {
        "delivery": delivery,
        "label": kind.label if kind else _("Test"),
        "last": log[0] if log else None,
        "log": log,
        "problem": problem_text(delivery.problem),
        "body": body,
    }
