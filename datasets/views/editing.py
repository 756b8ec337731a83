"""Rows of an open version: edited and dropped one by one, or dropped together by a warning."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods, require_POST

from console.htmx import HtmxHttpRequest
from datasets import editing
from datasets.columns import FLAG_BITS, read_lines
from datasets.models import DatasetVersion
from datasets.preview import ROLES
from datasets.problems import KINDS
from datasets.publishing import NotAllowed
from datasets.views.common import tab_context, writable_version

# Texts of a row beside its messages, in the order in which they are shown.
_TEXTS = ("prompt", "text", "chosen", "rejected", "completion")


@dataclass
class TextField:
    """One text of the form. `index` is that of a message, None for the other texts."""

    name: str
    label: Promise | str
    value: str
    role: str = ""
    index: int | None = None
    learned: bool = True
    error: str = ""

    @property
    def turn(self) -> int:
        """The number of the message's turn, from 1."""
        return (self.index or 0) // 2 + 1

    @property
    def lines(self) -> int:
        """Height of the text area."""
        return min(14, max(2, self.value.count("\n") + len(self.value) // 90 + 1))


@require_http_methods(["GET", "POST"])
@login_required
def edit_row(request: HtmxHttpRequest, uid: str, number: int) -> HttpResponse:
    """One row as a form: a text for each turn. `number` counts from 1."""
    version = writable_version(request, uid)
    row = _row(version, number)
    problem, status = editing.obstacle(version), 200
    error: editing.NotARow | None = None
    is_json = "responses" in row
    if request.method == "POST" and not problem:
        typed, action = request.POST, request.POST.get("action", "save")
        try:
            row = msgspec.json.decode(typed.get("json", "").encode()) if is_json else _typed(row, request)
            if not isinstance(row, dict):
                raise editing.NotARow("json", _("The row must be an object."))
            if action == "save":
                if typed.get("hash") != version.content_hash:
                    raise editing.NotARow(
                        "", _("The rows have changed since this page was loaded. Load it again.")
                    )
                line = editing.canonical(row, version.dataset.row_type)
                editing.rewrite(version, replace={number - 1: line}, drop=set(), append=[])
                messages.success(request, _("Row %(number)d was saved.") % {"number": number})
                return redirect("datasets:rows", uid=uid)
            row = _turns_changed(row, action)
        except editing.NotARow as reason:
            error, status = reason, 422
        except (msgspec.DecodeError, UnicodeEncodeError) as reason:
            error, status = editing.NotARow("json", str(reason)), 422
        except NotAllowed as reason:
            problem, status = str(reason), 409
    shown = request.POST.get("json") if is_json and error else None
    context = tab_context(request, version, "rows") | {
        "number": number,
        "fields": [] if is_json else _fields(row, error),
        "json": shown or msgspec.json.format(msgspec.json.encode(row), indent=2).decode(),
        "is_json": is_json,
        "label": row.get("label"),
        "has_turns": "messages" in row,
        "picture": row.get("image", "").removeprefix("images/"),
        "error": error,
        "problem": problem,
    }
    return render(request, "datasets/edit_row.html", context, status=status)


def _row(version: DatasetVersion, number: int) -> dict[str, Any]:
    """Raises Http404 where there is no such row, or the storage has lost it."""
    try:
        line = read_lines(version, [number - 1])[0]
    except (FileNotFoundError, IndexError) as error:
        raise Http404(_("There is no such row.")) from error
    row: dict[str, Any] = msgspec.json.decode(line)
    return row


def _typed(row: dict[str, Any], request: HtmxHttpRequest) -> dict[str, Any]:
    """The row with what was typed; its kind and its picture stay."""
    data, typed = request.POST, dict(row)
    if "messages" in row:
        typed["messages"] = _typed_messages(row, request)
    for key in _TEXTS:
        if key in row:
            typed[key] = _text(data.get(key, ""))
    if "label" in row:
        typed["label"] = data.get("label") == "true"
    return typed


def _typed_messages(row: dict[str, Any], request: HtmxHttpRequest) -> list[dict[str, Any]]:
    data, said = request.POST, []
    system = _text(data.get("system", ""))
    if system.strip():
        said.append({"role": "system", "content": system})
    old = dict(enumerate(one for one in row["messages"] if one["role"] != "system"))
    index = 0
    while (text := data.get(f"message-{index}")) is not None and index < 1000:
        message: dict[str, Any] = {"role": "assistant" if index % 2 else "user", "content": _text(text)}
        if index % 2 and f"shown-{index}" in data:
            if f"learned-{index}" not in data:
                message["weight"] = 0
            elif old.get(index, {}).get("weight") == 1:
                message["weight"] = 1
        said.append(message)
        index += 1
    return said


def _text(typed: str) -> str:
    """Browsers send CR LF for each line end."""
    return typed.replace("\r\n", "\n")


def _turns_changed(row: dict[str, Any], action: str) -> dict[str, Any]:
    """The row with a turn more at its end, or without one: `add`, `remove-3` (the third turn, from 1)."""
    said = [dict(message) for message in row.get("messages", [])]
    start = int(bool(said) and said[0]["role"] == "system")
    if action == "add":
        ends_with_reply = bool(said) and said[-1]["role"] == "assistant"
        order = ("user", "assistant") if ends_with_reply else ("assistant", "user")
        said += [{"role": role, "content": ""} for role in order]
    elif found := re.fullmatch(r"remove-(\d{1,4})", action):
        first = start + 2 * (int(found[1]) - 1)
        if len(said) - start > 2 and first < len(said):
            # A question at the end has no reply of its own; the reply before it goes with it.
            first = min(first, len(said) - 2)
            del said[first : first + 2]
    return {**row, "messages": said}


def _fields(row: dict[str, Any], error: editing.NotARow | None) -> list[TextField]:
    said = row.get("messages", [])
    fields: list[TextField] = []
    if said:
        has_system = said[0]["role"] == "system"
        fields.append(
            TextField("system", ROLES["system"], said[0]["content"] if has_system else "", "system", -1)
        )
        for index, message in enumerate(said[1:] if has_system else said):
            label = ROLES["assistant"] if index % 2 else ROLES["user"]
            learned = message.get("weight") != 0
            fields.append(
                TextField(f"message-{index}", label, message["content"], message["role"], index, learned)
            )
    for key in _TEXTS:
        if key in row:
            label = _("Reply") if key == "completion" else ROLES[key]
            fields.append(TextField(key, label, row[key]))
    if error is not None:
        _mark(fields, error, bool(said) and said[0]["role"] == "system")
    return fields


def _mark(fields: list[TextField], error: editing.NotARow, has_system: bool) -> None:
    """Puts the error at its field: messages[2].content, chosen[0].content, text."""
    name = error.field.partition("[")[0].partition(".")[0]
    if found := re.match(r"messages\[(\d+)\]", error.field):
        index = int(found[1]) - has_system
        name = f"message-{index}" if index >= 0 else "system"
        if "completion" in {field.name for field in fields} and name not in {field.name for field in fields}:
            name = "completion"
    for field in fields:
        if field.name == name:
            field.error = error.text


@require_POST
@login_required
def drop_row(request: HtmxHttpRequest, uid: str, number: int) -> HttpResponse:
    """Drops one row; `hash` names the rows that the page showed, so that numbers mean what they meant there."""
    version = writable_version(request, uid)
    if request.POST.get("hash", version.content_hash) != version.content_hash:
        messages.error(request, _("The rows have changed since this page was loaded. Load it again."))
        return redirect("datasets:rows", uid=uid)
    try:
        editing.rewrite(version, replace={}, drop={number - 1}, append=[])
    except NotAllowed as reason:
        messages.error(request, str(reason))
    else:
        messages.success(request, _("Row %(number)d was dropped.") % {"number": number})
    return redirect("datasets:rows", uid=uid)


@require_POST
@login_required
def drop_flagged(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Drops every row that has a warning of the chosen `kind`."""
    version = writable_version(request, uid)
    kind = request.POST.get("kind", "")
    if kind not in FLAG_BITS:
        raise Http404(_("There is no such warning."))
    try:
        count = editing.drop_flagged(version, kind)
    except NotAllowed as reason:
        messages.error(request, str(reason))
    except FileNotFoundError:
        messages.error(request, _("The rows are no longer in the storage."))
    else:
        text = ngettext(
            "%(count)d row was dropped: %(kind)s.", "%(count)d rows were dropped: %(kind)s.", count
        )
        messages.success(request, text % {"count": count, "kind": str(KINDS[kind].title)})
    return redirect("datasets:version", uid=uid)
