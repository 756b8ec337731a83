"""The program that serves models to the web processes: `gunicorn catalog.serving_app:application --workers 1`.

POST / with {"target": …, "task": …} is answered with lines of JSON (Said) as they come; an empty line says that there
is nothing yet. Who may ask was checked by whoever holds the token, which both sides derive from SECRET_KEY.
"""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import msgspec

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

import django
from django.apps import apps

if not apps.ready:
    django.setup()

from django.conf import settings
from django.db import close_old_connections

from catalog.serving import NotAnswered, Pool
from catalog.serving_client import token
from catalog.serving_targets import find_reference
from catalog.serving_weights import load_of
from jobs.training.serving_protocol import Load, Said, Task
from jobs.weights import WeightsUnavailable

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
# A task with a picture, base64.
MOST_BYTES = 32 * 1024 * 1024


class Question(msgspec.Struct):
    """Which model (Target.as_reference), and what it is asked."""

    target: dict[str, str | int]
    task: Task


@cache
def pool() -> Pool:
    made = Pool(settings.SERVING_MODELS, settings.SERVING_IDLE_SECONDS)
    atexit.register(made.close)
    return made


def application(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    given = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
    if not secrets.compare_digest(given.encode(), token().encode()):
        start_response("403 Forbidden", [("Content-Type", "text/plain")])
        return iter([b"The token is wrong: SECRET_KEY must be that of the console.\n"])
    if environ["REQUEST_METHOD"] != "POST":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"ok\n"])
    length = min(int(environ.get("CONTENT_LENGTH") or 0), MOST_BYTES)
    try:
        question = msgspec.json.decode(environ["wsgi.input"].read(length), type=Question)
    except msgspec.DecodeError as error:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return iter([f"{error}\n".encode()])
    start_response("200 OK", [("Content-Type", "application/x-ndjson")])
    return _lines(question)


def _lines(question: Question) -> Iterator[bytes]:
    yield b"\n"
    try:
        for said in pool().answer(_load(question), question.task):
            yield msgspec.json.encode(said) + b"\n" if said is not None else b"\n"
    except (NotAnswered, WeightsUnavailable) as error:
        said = Said("refused", code=error.code, text=error.message, params=dict(error.params))
        yield msgspec.json.encode(said) + b"\n"


def _load(question: Question) -> Load:
    """Raises NotAnswered, WeightsUnavailable."""
    try:
        target = find_reference(question.target)
        if target is None:
            raise NotAnswered("model_not_found", "This model no longer exists.")
        return load_of(target)
    finally:
        close_old_connections()
