"""The rows of a version, page by page."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from console.htmx import HtmxHttpRequest
from datasets.preview import ROWS_A_PAGE, shown
from datasets.rows import page_of_rows
from datasets.views.common import tab_context, visible_version


@require_GET
@login_required
def rows_page(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """A page of rows from `row` on."""
    version = visible_version(request, uid)
    number = request.GET.get("row", "")
    first = max(1, min(version.row_count, int(number) if number.isdecimal() else 1))
    rows = [shown(at, row) for at, row in enumerate(page_of_rows(version, first - 1, ROWS_A_PAGE), first)]
    return render(request, "datasets/rows.html", tab_context(request, version, "rows") | {"rows": rows})
