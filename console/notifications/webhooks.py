"""Sends events to addresses of a workspace's own, signed as Standard Webhooks has it (standardwebhooks.com):
`webhook-id` is the event's and stays the same whenever it is sent again, `webhook-signature` is HMAC-SHA256 over
id, time and body.

Nothing is followed, and nothing inside the operator's network is called (console/endpoints.py).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import msgspec
import urllib3
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.db import transaction
from django.utils import timezone, translation
from urllib3.exceptions import HTTPError, NewConnectionError, TimeoutError

from console.afterwards import after_commit
from console.endpoints import Checked, EndpointRefused, InnerAddress, check_url
from console.models import Workspace
from console.notifications import outbox
from console.notifications.kinds import text_of, title_of
from console.notifications.models import Delivery, Notification, Webhook
from console.notifications.outbox import Undelivered
from console.notifications.recording import record
from console.secrets import WEBHOOKS, decrypt, encrypt

# Of one workspace.
MOST = 20
# Standard Webhooks, "Webhook Signatures": between 24 and 64 random bytes, in base64 after this.
PREFIX, SECRET_BYTES = "whsec_", 32
# Seconds: for the connection, for a silence, and for the whole attempt.
CONNECT, SILENCE, WHOLE = 5, 10, 20
# Of an answer so many bytes are kept, and so many attempts.
ANSWER_BYTES, ATTEMPTS_KEPT = 500, 20
# A webhook that fails for so long is switched off.
PATIENCE = timedelta(days=3)


# --- Secrets, signatures -------------------------------------------------------------------------------------


def new_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def set_secret(webhook: Webhook) -> str:
    """Gives a webhook a new secret, without saving it; returns it in clear, to be shown once."""
    secret = new_secret()
    webhook.secret = encrypt(secret, WEBHOOKS)
    return secret


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


# --- What is sent --------------------------------------------------------------------------------------------


def payload(delivery: Delivery) -> dict[str, Any]:
    """The body, as Standard Webhooks has it: type, timestamp, data. The same whenever it is sent."""
    notification = delivery.notification
    if notification is None:
        data = {"workspace": delivery.webhook.workspace.name, "webhook": delivery.webhook.name}
        return {"type": "webhook.test", "timestamp": delivery.created_at, "data": data}
    return {
        "type": notification.kind,
        "timestamp": notification.created_at,
        "data": _said(notification) | {"details": notification.data},
    }


def _said(notification: Notification) -> dict[str, Any]:
    """What people read, in every language."""
    titles, texts = {}, {}
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            titles[language] = title_of(notification.kind, notification.data)
            texts[language] = text_of(notification.kind, notification.data)
    url = settings.PUBLIC_URL + notification.path
    return {"workspace": notification.workspace.name, "url": url, "title": titles, "text": texts}


def message_id(delivery: Delivery) -> str:
    """By which a receiver knows an event that it has had already."""
    return delivery.notification.uid if delivery.notification else delivery.uid


# --- Sending -------------------------------------------------------------------------------------------------


class _Limited(Checked):
    """A checked connection that ends after WHOLE seconds, however slowly the other side goes on."""

    sock: Any

    def connect(self) -> None:
        self._end = threading.Timer(WHOLE, self._cut)
        self._end.daemon = True
        self._end.start()
        super().connect()  # type: ignore[misc]

    def close(self) -> None:
        if hasattr(self, "_end"):
            self._end.cancel()
        super().close()  # type: ignore[misc]

    def _cut(self) -> None:
        if self.sock is not None:
            try:
                self.sock.shutdown(2)
            except OSError:
                return


class _HTTPConnection(_Limited, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_Limited, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def _pools() -> urllib3.PoolManager:
    """Connections for one attempt: none is kept. No proxy of the environment is used."""
    timeout = urllib3.Timeout(connect=CONNECT, read=SILENCE)
    pools = urllib3.PoolManager(retries=False, timeout=timeout)
    pools.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
    return pools


def deliver(delivery: Delivery) -> None:
    """One attempt, noted in the delivery's log; raises Undelivered. For `outbox.attempt`."""
    webhook = delivery.webhook
    if not webhook.enabled and not delivery.is_test:
        raise Undelivered("switched_off", is_lasting=True)
    started = time.monotonic()
    noted: dict[str, Any] = {"at": timezone.now().isoformat(), "status": None, "answer": ""}
    problem = None
    try:
        noted["status"], noted["answer"] = _post(delivery, webhook)
        _judge(noted["status"])
    except Undelivered as raised:
        problem = raised
        # A test is for whoever looks at it: the next one is a click away.
        problem.is_lasting = problem.is_lasting or delivery.is_test
    noted |= {"seconds": round(time.monotonic() - started, 2), "code": problem.code if problem else ""}
    delivery.log = [*delivery.log, noted][-ATTEMPTS_KEPT:]
    if not delivery.is_test:
        _note(webhook, problem)
    if problem:
        raise problem


def _post(delivery: Delivery, webhook: Webhook) -> tuple[int, str]:
    """Status and first bytes of the answer; raises Undelivered where there is none."""
    try:
        check_url(webhook.url)
        secret = decrypt(webhook.secret, WEBHOOKS)
    except EndpointRefused as refused:
        # Its text is in the language of this process; the reader gets one in theirs.
        is_unknown = isinstance(refused.__cause__, OSError | UnicodeError)
        raise Undelivered("no_server" if is_unknown else "not_allowed") from refused
    except InvalidToken as error:
        raise Undelivered("secret_unreadable", is_lasting=True) from error
    body = msgspec.json.encode(payload(delivery))
    now = int(time.time())
    headers = {
        "content-type": "application/json",
        "user-agent": "Jingtiao-Webhooks/1",
        "webhook-id": message_id(delivery),
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secret, message_id(delivery), now, body),
    }
    try:
        with _pools() as pools:
            answer = pools.request(
                "POST", webhook.url, body=body, headers=headers, redirect=False, preload_content=False
            )
            try:
                return answer.status, _text(answer.read1(ANSWER_BYTES))
            finally:
                answer.close()
    except HTTPError as error:
        # urllib3 counts a refused connection among those that took too long.
        if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):
            raise Undelivered("too_slow") from error
        if isinstance(error.__cause__ or error.__context__, InnerAddress):
            raise Undelivered("inner_address") from error
        raise Undelivered("unreachable", reason=_plain(error)) from error


def _text(answer: bytes) -> str:
    return answer[:ANSWER_BYTES].decode("utf-8", "replace").replace("\0", "�")


def _plain(error: Exception) -> str:
    """What went wrong, as the system says it where it does."""
    cause = error.__cause__ or error.__context__
    text = (cause.strerror if isinstance(cause, OSError) else "") or str(cause or error)
    return text[:200] or type(error).__name__


def _judge(status: int) -> None:
    """Raises Undelivered for anything but 2xx."""
    if 200 <= status < 300:
        return
    if status == HTTPStatus.GONE:
        raise Undelivered("gone", is_lasting=True)
    if 300 <= status < 400:
        raise Undelivered("redirected")
    raise Undelivered("status", status=status)


def _note(webhook: Webhook, problem: Undelivered | None) -> None:
    """Remembers since when a webhook fails, and switches it off where that is for too long, or it wants no more."""
    now = timezone.now()
    own = Webhook.objects.filter(pk=webhook.pk, enabled=True)
    if problem is None:
        own.exclude(failing_since=None).update(failing_since=None)
        return
    own.filter(failing_since=None).update(failing_since=now)
    with transaction.atomic():
        failing = own.select_for_update().first()
        if failing is None or failing.failing_since is None:
            return
        if problem.code == "gone" or now - failing.failing_since > PATIENCE:
            failing.enabled, failing.given_up_at = False, now
            failing.save(update_fields=["enabled", "given_up_at"])
            key = f"{failing.uid}:{now.isoformat()}"
            since = failing.failing_since.isoformat()
            data = {"uid": failing.uid, "webhook": failing.name, "failing_since": since, "last": problem.code}
            record("webhook.off", failing.workspace_id, key, data)


# --- For its page and the API --------------------------------------------------------------------------------


def has_room(workspace: Workspace) -> bool:
    return Webhook.objects.filter(workspace=workspace).count() < MOST


def switched_on(webhook: Webhook) -> None:
    """Forgets, on a webhook that was switched on again, that it failed. Does not save."""
    webhook.failing_since = webhook.given_up_at = None


def test(webhook: Webhook) -> Delivery:
    """Has something sent that is no event, with one attempt."""
    from console.tasks import deliver_webhook

    with transaction.atomic():
        delivery = Delivery.objects.create(webhook=webhook)
        after_commit(deliver_webhook.delay, delivery.pk)
    return delivery


def send_again(delivery: Delivery) -> bool:
    """Has a delivery that is over made anew; False while it still waits."""
    from console.tasks import deliver_webhook

    with transaction.atomic():
        if not outbox.again(delivery):
            return False
        after_commit(deliver_webhook.delay, delivery.pk)
    return True
