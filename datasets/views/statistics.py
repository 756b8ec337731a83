"""The figures of a version's rows."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from console.htmx import HtmxHttpRequest
from datasets.views.common import tab_context, visible_version


@require_GET
@login_required
def statistics_page(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Rows, turns, characters, languages, duplicates, warnings."""
    version = visible_version(request, uid)
    return render(request, "datasets/statistics.html", tab_context(request, version, "statistics"))
