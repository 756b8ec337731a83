"""What a person was told, in the page: the bell over every page, the list, and by which ways to hear of what."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers

from console.htmx import HtmxHttpRequest, wants_fragment
from console.notifications import reading
from console.notifications.forms import ChannelsForm
from console.notifications.kinds import KINDS

PAGE_SIZE = 30


@require_GET
@login_required
@never_cache
def bell(request: HtmxHttpRequest) -> HttpResponse:
    """The bell. `?n=` is the number that it shows: 204 while that is right, so that nothing is swapped or read out."""
    count = reading.unread_count(request.user)
    if request.GET.get("n") == str(count):
        return HttpResponse(status=204)
    return render(request, "console/notifications/_bell.html", {"unread_count": count})


@require_GET
@login_required
@vary_on_headers("HX-Request")
def notification_list(request: HtmxHttpRequest) -> HttpResponse:
    """A page of the list, newest first; for htmx the list alone. `?show=unread` and `?kind=` leave some."""
    only_unread, kind = request.GET.get("show") == "unread", request.GET.get("kind", "")
    found = reading.receipts(request.user)
    if only_unread:
        found = found.filter(read_at=None)
    if kind in KINDS:
        found = found.filter(notification__kind=kind)
    after = request.GET.get("after", "")
    if after.isdecimal() and len(after) < 19:
        found = found.filter(notification__lt=int(after))
    rows = list(found[: PAGE_SIZE + 1])
    query = {"show": "unread" if only_unread else "", "kind": kind if kind in KINDS else ""}
    context: dict[str, Any] = {
        "rows": rows[:PAGE_SIZE],
        "next": rows[PAGE_SIZE - 1].notification_id if len(rows) > PAGE_SIZE else None,
        "query": query,
        "query_text": urlencode({key: value for key, value in query.items() if value}),
        "is_first": not after,
        "kinds": KINDS.values(),
        "unread_count": reading.unread_count(request.user),
        "nav": "notifications",
    }
    template = "_list.html" if wants_fragment(request) else "list.html"
    return render(request, f"console/notifications/{template}", context)


@require_GET
@login_required
@never_cache
def open_notification(request: HtmxHttpRequest, uid: str) -> HttpResponseRedirect:
    """Leads to what it is about; from then on it is read."""
    found = reading.receipts(request.user).filter(notification__uid=uid)
    receipt = get_object_or_404(found)
    reading.mark_read(found)
    return redirect(receipt.notification.path)


@require_POST
@login_required
def mark_read(request: HtmxHttpRequest) -> HttpResponseRedirect:
    """Marks one (`uid`) or all as read."""
    found = reading.receipts(request.user)
    uid = request.POST.get("uid", "").replace("\0", "")
    count = reading.mark_read(found.filter(notification__uid=uid) if uid else found)
    if not uid:
        text = ngettext("%(count)d marked as read.", "%(count)d marked as read.", count)
        messages.success(request, text % {"count": count})
    back = urlencode({key: value for key in ("show", "kind") if (value := request.POST.get(key))})
    return HttpResponseRedirect(f"{reverse('notifications')}{'?' if back else ''}{back}")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def channels(request: HtmxHttpRequest) -> HttpResponse:
    """By which ways the person hears of what."""
    form = ChannelsForm(request.POST or None, user=request.user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect("notification_settings")
    context = {"form": form, "has_mail": bool(settings.MAIL_SERVER), "nav": "notifications"}
    return render(request, "console/notifications/settings.html", context)
