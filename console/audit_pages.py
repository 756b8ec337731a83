"""The audit log of a workspace, for its owners: who changed what, when and from where; filtered, and as a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from django.apps import apps
from django.contrib.auth.decorators import login_required
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpResponse, QueryDict, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from console.access import current_membership
from console.audit import RECORDED
from console.downloads import as_file
from console.htmx import HtmxHttpRequest, wants_fragment
from console.models import AuditEntry, Role, User, Workspace
from console.spreadsheets import csv_lines

PAGE_SIZE = 50
CHUNK_ROWS = 2000
COLUMNS = ("time", "person", "api_key", "address", "action", "kind", "object", "field", "old", "new")


@dataclass(frozen=True)
class Query:
    """What was asked for, as in the address; what makes no sense there is left out."""

    q: str = ""
    person: str = ""
    kind: str = ""
    action: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def read(cls, data: QueryDict) -> Query:
        return cls(**{key: data.get(key, "").strip()[:100] for key in cls.__dataclass_fields__})

    @property
    def is_filtered(self) -> bool:
        return self != Query()

    @property
    def text(self) -> str:
        """The query string, without what is empty."""
        return urlencode({key: value for key in self.__dataclass_fields__ if (value := getattr(self, key))})


def actions() -> dict[str, tuple[int, str]]:
    """By their names in the address: the number in the table, and what people read."""
    return {
        "create": (AuditEntry.Action.CREATE, _("Created")),
        "change": (AuditEntry.Action.UPDATE, _("Changed")),
        "delete": (AuditEntry.Action.DELETE, _("Deleted")),
    }


def kinds() -> dict[str, str]:
    """What stands in the logs of workspaces: label of the model, and its name for people."""
    labels = [label for label, recorded in RECORDED.items() if recorded.workspace]
    return {label: str(apps.get_model(label)._meta.verbose_name) for label in labels}


def find(workspace: Workspace, query: Query) -> QuerySet[AuditEntry]:
    """The entries of a workspace that fit, newest first."""
    found: QuerySet[AuditEntry] = AuditEntry.objects.filter(workspace=workspace)
    if query.person:
        found = found.filter(actor_name=query.person)
    if query.kind in kinds():
        found = found.filter(content_type=ContentType.objects.get_for_model(apps.get_model(query.kind)))
    if action := actions().get(query.action):
        found = found.filter(action=action[0])
    if query.q:
        found = found.filter(object_repr__icontains=query.q)
    if day := _day(query.since):
        found = found.filter(timestamp__gte=_midnight(day))
    if day := _day(query.until):
        found = found.filter(timestamp__lt=_midnight(day + timedelta(days=1)))
    return found.order_by("-timestamp", "-id")


def _day(text: str) -> date | None:
    try:
        return parse_date(text)
    except ValueError:
        return None  # the 31st of February


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def after(found: QuerySet[AuditEntry], cursor: str) -> QuerySet[AuditEntry]:
    """What comes behind an entry: a place that stays although others are written meanwhile."""
    last = AuditEntry.objects.filter(pk=cursor).first() if cursor.isdecimal() and len(cursor) < 19 else None
    if last is None:
        return found
    return found.filter(Q(timestamp__lt=last.timestamp) | Q(timestamp=last.timestamp, pk__lt=last.pk))


# --- For people --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """One field: its name for people, what it was and what it is ("" for nothing)."""

    field: str
    old: str
    new: str


def changes_of(entry: AuditEntry) -> list[Change]:
    """The fields of an entry; what was added to or taken from a list stands on its side."""
    model = entry.content_type.model_class()
    found = []
    for name, change in (entry.changes or {}).items():
        if isinstance(change, dict):
            objects = ", ".join(map(str, change.get("objects", ())))
            pair = (objects, "") if change.get("operation") == "delete" else ("", objects)
        else:
            pair = (_text(change[0]), _text(change[1]))
        found.append(Change(_field_name(model, name), *pair))
    return found


def _field_name(model: Any, name: str) -> str:
    try:
        return str(model._meta.get_field(name).verbose_name)
    except (AttributeError, FieldDoesNotExist):
        return name  # of a model or a field that there is no more


def _text(value: Any) -> str:
    return "" if value in (None, "None") else str(value)


def kind_of(entry: AuditEntry) -> str:
    model = entry.content_type.model_class()
    return str(model._meta.verbose_name) if model else entry.content_type.model


def action_of(entry: AuditEntry) -> str:
    return next((label for number, label in actions().values() if number == entry.action), "")


def _row(entry: AuditEntry) -> dict[str, Any]:
    return {
        "entry": entry,
        "kind": kind_of(entry),
        "action": action_of(entry),
        # Of what was deleted the name says enough.
        "changes": [] if entry.action == AuditEntry.Action.DELETE else changes_of(entry),
    }


@require_GET
@login_required
@vary_on_headers("HX-Request")
def audit_log(request: HtmxHttpRequest) -> HttpResponse:
    """The log, a page at a time; the table alone for htmx."""
    workspace = _own_workspace(request)
    query = Query.read(request.GET)
    found = after(find(workspace, query), request.GET.get("after", ""))
    entries = list(found.select_related("content_type")[: PAGE_SIZE + 1])
    has_more = len(entries) > PAGE_SIZE
    entries = entries[:PAGE_SIZE]
    context = {
        "rows": [_row(entry) for entry in entries],
        "query": query,
        "next": entries[-1].pk if has_more else None,
        "is_first": not request.GET.get("after"),
        "people": User.objects.filter(memberships__workspace=workspace).order_by("username"),
        "kinds": kinds(),
        "actions": {key: label for key, (_number, label) in actions().items()},
        "nav": "audit",
    }
    template = "console/_audit_table.html" if wants_fragment(request) else "console/audit.html"
    return render(request, template, context)


@require_GET
@login_required
def audit_file(request: HtmxHttpRequest, ending: str) -> HttpResponseBase:
    """Everything that fits, as .csv or .jsonl, read while it is sent."""
    workspace = _own_workspace(request)
    if ending not in WRITERS:
        raise Http404
    write, kind = WRITERS[ending]
    found = find(workspace, Query.read(request.GET)).select_related("content_type")
    response = StreamingHttpResponse(write(found), content_type=kind)
    return as_file(response, f"audit-{timezone.localdate():%Y-%m-%d}.{ending}")


def _own_workspace(request: HtmxHttpRequest) -> Workspace:
    """The current workspace; raises PermissionDenied for those who do not own it: the log tells what others did."""
    membership = current_membership(request)
    if membership.role != Role.OWNER:
        raise PermissionDenied(_("Only owners of the workspace read its audit log."))
    return membership.workspace


# --- As a file ---------------------------------------------------------------------------------------------------


def _jsonl(found: QuerySet[AuditEntry]) -> Iterator[bytes]:
    """One object an entry; "changes" is {field: [old, new]}, keys are those of the program and not translated."""
    for entry in found.iterator(chunk_size=CHUNK_ROWS):
        yield msgspec.json.encode(_common(entry) | {"changes": entry.changes or {}}) + b"\n"


def _csv(found: QuerySet[AuditEntry]) -> Iterator[str]:
    """One line a changed field."""
    return csv_lines(
        COLUMNS,
        (
            (*_common(entry).values(), change.field, change.old, change.new)
            for entry in found.iterator(chunk_size=CHUNK_ROWS)
            for change in changes_of(entry) or [Change("", "", "")]
        ),
    )


def _common(entry: AuditEntry) -> dict[str, str]:
    names = {number: key for key, (number, _label) in actions().items()}
    return {
        "time": entry.timestamp.isoformat(),
        "person": entry.actor_name,
        "api_key": entry.key_name,
        "address": entry.remote_addr or "",
        "action": names.get(entry.action, ""),
        "kind": f"{entry.content_type.app_label}.{entry.content_type.model}",
        "object": entry.object_repr,
    }


WRITERS = {"csv": (_csv, "text/csv; charset=utf-8"), "jsonl": (_jsonl, "application/jsonl")}
