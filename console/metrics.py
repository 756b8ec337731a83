"""Figures for Prometheus at /metrics.

What the database knows (runs, queues, devices) is asked when somebody looks, by collectors that the apps register
in `STATE`; such figures are the same from every process. Request times are counted by the process that answers,
in files that all web processes share (prometheus_client's multi-process mode).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from time import perf_counter

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

# Read by prometheus_client when it is imported for the first time.
os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", str(settings.METRICS_DIR))
settings.METRICS_DIR.mkdir(parents=True, exist_ok=True)

from prometheus_client import (  # noqa: E402
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

STATE = CollectorRegistry()
# In seconds: the console's pages take some hundredths of one, uploads longer.
BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
REQUEST_SECONDS = Histogram(
    "jingtiao_request_seconds",
    "Time to answer a request, by the name of its address.",
    ("address", "method", "status"),
    buckets=BUCKETS,
    registry=None,
)


class RequestTimesMiddleware:
    """Counts every request with its time, under the name of its address and not under the address itself: there
    are few names and any number of addresses."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        began = perf_counter()
        response = self.get_response(request)
        match = request.resolver_match
        name = match.view_name if match else "none"
        method = (
            request.method if request.method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
        )
        REQUEST_SECONDS.labels(name, method, response.status_code).observe(perf_counter() - began)
        return response


@require_GET
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures, for whoever brings METRICS_TOKEN (Authorization: Bearer …) and for signed-in operators.

    Everybody else is told that there is nothing here.
    """
    if not _may_read(request):
        raise Http404
    requests = CollectorRegistry()
    MultiProcessCollector(requests)
    body = generate_latest(STATE) + generate_latest(requests)
    return HttpResponse(body, content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    if getattr(request.user, "is_superuser", False):
        return True
    wanted = f"Bearer {settings.METRICS_TOKEN}".encode()
    given = request.headers.get("Authorization", "").encode()
    return bool(settings.METRICS_TOKEN) and secrets.compare_digest(given, wanted)
