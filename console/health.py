"""Whether this process answers (/healthz) and whether it can do its work (/readyz)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from django.core.files.storage import default_storage
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_GET

from console.celery import app

logger = logging.getLogger(__name__)
BROKER_SECONDS = 2


@require_GET
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers; says nothing of the services behind it."""
    return JsonResponse({"status": "ok"})


@require_GET
def readyz(request: HttpRequest) -> HttpResponse:
    """200 if database, migrations, broker and storage are as they must be, 503 otherwise, each by its name.

    What is wrong goes into the log and not into the answer: anybody may ask.
    """
    found = {name: _works(name, check) for name, check in CHECKS.items()}
    is_ready = all(found.values())
    body = {"status": "ready" if is_ready else "not ready", "checks": found}
    return JsonResponse(body, status=HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)


def _works(name: str, check: Callable[[], None]) -> bool:
    try:
        check()
    except Exception as error:
        logger.warning("not ready, %s: %s", name, error)
        return False
    return True


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _migrations() -> None:
    executor = MigrationExecutor(connection)
    if plan := executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise RuntimeError(f"{len(plan)} migrations are missing: manage.py migrate")


def _broker() -> None:
    with app.connection_for_write(connect_timeout=BROKER_SECONDS) as broker:
        broker.ensure_connection(max_retries=1, timeout=BROKER_SECONDS)


def _storage() -> None:
    """Asks for a file that is not there: reaches the bucket or the disk and writes nothing."""
    default_storage.exists("readyz")


CHECKS: dict[str, Callable[[], None]] = {
    "database": _database,
    "migrations": _migrations,
    "broker": _broker,
    "storage": _storage,
}
