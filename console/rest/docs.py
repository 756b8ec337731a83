"""The page that describes the own API and tries it out: Swagger UI, which comes with django-ninja."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET


@require_GET
@login_required
def page(request: HttpRequest) -> HttpResponse:
    """Calls from it are those of the signed-in person, in the workspace that is chosen, unless a key is typed in."""
    return render(request, "console/api_docs.html", {"nav": "api_keys"})
