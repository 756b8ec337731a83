"""Answers of a model as the web processes get them: from the program that serves models, or from a registered server.

A stream holds a thread of the web process for as long as it lasts, so each process has at most CHAT_STREAMS.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import cache

import msgspec
import urllib3
from django.conf import settings
from django.utils.crypto import salted_hmac

from catalog.serving_targets import Target
from jobs.training.serving_protocol import Said, Task

# The program sends at least an empty line a second; fetching weights may take it longer before the first one.
TIMEOUT = urllib3.Timeout(connect=5, read=300)


class Unanswered(Exception):
    """Why there is no answer, as the page and the API may show it; `status` is HTTP's, `param` the field to blame."""

    def __init__(
        self, status: int, code: str, message: str, param: str | None = None, params: object = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param, self.params = status, code, message, param, params


# HTTP status of what the serving side refuses with; everything else is 500.
STATUS = {
    "context_length_exceeded": 400,
    "invalid_value": 400,
    "invalid_image": 400,
    "model_not_found": 404,
    "busy": 503,
    "crashed": 503,
    "killed": 503,
    "out_of_memory": 503,
    "weights_unbound": 503,
    "weights_missing": 503,
    "weights_broken": 503,
    "hub_unreachable": 503,
    "s3_unreachable": 503,
    "conversion_failed": 503,
    "base_run_missing": 503,
}


@cache
def http() -> urllib3.PoolManager:
    return urllib3.PoolManager(retries=False, timeout=TIMEOUT)


@cache
def _slots() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(settings.CHAT_STREAMS)


@contextmanager
def slots() -> Iterator[None]:
    """One of the answers that this process may wait for at the same time. Raises Unanswered."""
    if not _slots().acquire(blocking=False):
        message = "Too many answers are being written at the moment. Ask again in a few seconds."
        raise Unanswered(429, "too_many_streams", message)
    try:
        yield
    finally:
        _slots().release()


def token() -> str:
    """What the web processes show to the program that serves models; both know SECRET_KEY."""
    return salted_hmac("catalog.serving", "token", algorithm="sha256").hexdigest()


def answer(target: Target, task: Task) -> Generator[Said | None]:
    """What the model says, `done` last; None: nothing yet. Raises Unanswered. Closing it ends the generation."""
    with slots():
        yield from _said(target, task)


def _said(target: Target, task: Task) -> Generator[Said | None]:
    if not settings.SERVING_URL:
        message = (
            "No machine serves models here: an operator starts manage.py serve_models and sets SERVING_URL."
        )
        raise Unanswered(503, "not_served", message)
    body = msgspec.json.encode({"target": target.as_reference(), "task": task})
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    try:
        response = http().request(
            "POST", settings.SERVING_URL, body=body, headers=headers, preload_content=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable() from error
    try:
        if response.status != 200:
            raise _unreachable()
        yield from _read(response)
    except urllib3.exceptions.HTTPError as error:
        raise _unreachable() from error
    finally:
        response.close()  # and with it the connection, by which the other side knows


def _read(response: urllib3.BaseHTTPResponse) -> Generator[Said | None]:
    decoder = msgspec.json.Decoder(Said)
    for line in lines(response):
        if not line:
            yield None
            continue
        said = decoder.decode(line)
        if said.type == "refused":
            raise Unanswered(STATUS.get(said.code, 500), said.code, said.text, said.param, said.params)
        yield said
        if said.type == "done":
            return
    raise _unreachable()


def lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """The lines of an answer as they arrive, without their ends."""
    rest = b""
    while data := response.read1(65536):
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.rstrip(b"\r") for line in whole)
    if rest:
        yield rest


def _unreachable() -> Unanswered:
    return Unanswered(
        503, "serving_unreachable", "The program that serves models does not answer. Ask again."
    )
