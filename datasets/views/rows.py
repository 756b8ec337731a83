"""The rows of a version: browse, filter, search."""

from __future__ import annotations

from typing import Any

import msgspec
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.http import require_GET

from console.htmx import HtmxHttpRequest, wants_fragment
from datasets.browsing import Hit, Query, files_of, find
from datasets.models import DatasetVersion, VersionState
from datasets.preview import ROWS_A_PAGE, ShownRow, first_rows, shown
from datasets.row_filter import RowFilter
from datasets.views.common import tab_context, visible_version

# A look takes a second (datasets/browsing.py). So many follow each other by themselves while nothing is found.
MAX_LOOKS = 60


@require_GET
@login_required
def rows_page(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The rows from `row` on, or before `before`, that fit the filter; htmx gets the list alone, or with `more` what
    follows a list that a look did not come to the end of."""
    version = visible_version(request, uid)
    context = tab_context(request, version, "rows")
    try:
        context |= _found(request, version) if version.rows_path else _in_place(version)
    except FileNotFoundError:
        context["is_lost"] = True
    if not wants_fragment(request):
        return render(request, "datasets/rows.html", context)
    template = "datasets/_rows_piece.html" if request.GET.get("more") else "datasets/_rows.html"
    return render(request, template, context, status=200 if context.get("is_valid", True) else 422)


def _found(request: HtmxHttpRequest, version: DatasetVersion) -> dict[str, Any]:
    """What the filter finds; nothing for a filter with a mistake."""
    form = RowFilter(request.GET, files=files_of(version))
    if not form.is_valid():
        return {"form": form, "is_valid": False}
    query, total = form.query(), version.row_count
    before = _number(request.GET, "before", total + 1)
    start = before - 1 if before else _number(request.GET, "row", total) or 1
    looks = _number(request.GET, "looks", MAX_LOOKS)
    hits = find(version, query, start, backwards=bool(before), limit=ROWS_A_PAGE)
    first, last = hits.first, hits.last
    if before and not hits.is_cut and first > 1 and len(hits.hits) < ROWS_A_PAGE:
        first = 1
    is_more = last < total and (before or hits.is_cut or len(hits.hits) == ROWS_A_PAGE)
    return {
        "form": form,
        "is_filtered": query != Query(),
        "rows": [_shown(hit, query) for hit in hits.hits],
        "first": _number(request.GET, "since", start) or first,
        "last": last,
        "is_cut": hits.is_cut and not before,
        "previous": _address(request.GET, before=hits.hits[0].number if hits.hits and not before else first)
        if first > 1
        else "",
        "next": _address(request.GET, row=last + 1) if is_more else "",
        "more": _address(
            request.GET,
            row=last + 1,
            more=1,
            since=_number(request.GET, "since", start) or first,
            looks=looks + 1,
        )
        if is_more
        else "",
        # What is rare is looked for without a person who says "go on" every second.
        "goes_on": hits.is_cut and not before and not hits.hits and looks < MAX_LOOKS,
        "start": _address(request.GET),
    }


def _shown(hit: Hit, query: Query) -> ShownRow:
    origin = f"{hit.file}:{hit.place}" if hit.file else ""
    return shown(hit.number, msgspec.json.decode(hit.line), query, origin)


def _in_place(version: DatasetVersion) -> dict[str, Any]:
    """The first rows of a version whose rows lie elsewhere: without columns there is nothing to search in."""
    if version.state in (VersionState.EMPTY, VersionState.IMPORTING) or not hasattr(version, "location"):
        return {}
    return {"rows": first_rows(version, ROWS_A_PAGE), "is_in_place": True}


def _number(given: QueryDict, name: str, most: int) -> int:
    """A row number of the address, 0 without one."""
    text = given.get(name, "")
    return max(1, min(most, int(text))) if text.isdecimal() and len(text) < 16 else 0


def _address(given: QueryDict, **place: int) -> str:
    """The same filter at another place."""
    query = given.copy()
    for name in ("row", "before", "more", "since", "looks", *(name for name in given if not given[name])):
        query.pop(name, None)
    for name, value in place.items():
        query[name] = str(value)
    return f"?{query.urlencode()}"
