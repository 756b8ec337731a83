"""Resource pools and workers, as they are now."""

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET
from django.views.decorators.vary import vary_on_headers

from console.access import memberships
from console.htmx import HtmxHttpRequest, wants_fragment
from jobs import loads


@require_GET
@login_required
@vary_on_headers("HX-Request")
def resources(request: HtmxHttpRequest) -> HttpResponse:
    """The pools that are offered and the machines behind them; the tables alone for htmx."""
    announced = loads.workers([membership.workspace for membership in memberships(request)])
    context = {
        "nav": "resources",
        "pools": loads.pools(announced),
        "workers": announced,
        "currency": settings.CURRENCY,
    }
    template = "jobs/_resource_tables.html" if wants_fragment(request) else "jobs/resources_page.html"
    return render(request, template, context)
