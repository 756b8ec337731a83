"""Where a version comes from and what came of it."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from console.htmx import HtmxHttpRequest
from datasets.lineage import lineage_of
from datasets.views.common import tab_context, visible_version


@require_GET
@login_required
def lineage_page(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Files and versions that it comes from, runs that used it, models that came of those."""
    version = visible_version(request, uid)
    context = tab_context(request, version, "lineage") | {
        "files": list(version.files.all()),
        "location": getattr(version, "location", None),
        "lineage": lineage_of(version, request.user),
    }
    return render(request, "datasets/lineage.html", context)
