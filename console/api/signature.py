"""bce-auth-v1: the signature that Qianfan's SDK (and every BCE client) puts on a request, checked.

Authorization: bce-auth-v1/{access key}/{timestamp}/{seconds}/{signed headers}/{signature}, where the signature is
HMAC-SHA256 over method, path, query and the signed headers, under a key derived from secret key and the first four
parts. Whoever changes one of these has no signature for the result. The body is not covered: that is the scheme's,
and what TLS is for.

A signature is good for as long as it says, but not longer than MAX_SECONDS. It is exact to the second, so equal
requests of one second are signed alike, and to ask for the same twice is nothing unusual: only a request that creates
something is remembered, with its body, and refused the second time (`refuse_replay`).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import parse_qsl, quote

from cryptography.fernet import InvalidToken
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone

from console.api.errors import Refused
from console.api.keys import Caller, caller_by_access_key, secret_of
from console.models import UsedSignature

SCHEME = "bce-auth-v1"
MAX_SECONDS = 1800
# How far the clock of a client may be ahead.
MAX_AHEAD = timedelta(minutes=5)
# What is signed where the client names no headers.
DEFAULT_HEADERS = ("host", "content-type", "content-length", "content-md5")


@dataclass(frozen=True)
class Signature:
    """The parts of the Authorization header."""

    access_key: str
    timestamp: str
    seconds: str
    headers: tuple[str, ...]
    signature: str

    @property
    def prefix(self) -> str:
        return f"{SCHEME}/{self.access_key}/{self.timestamp}/{self.seconds}"

    @property
    def signed_at(self) -> datetime:
        return datetime.strptime(self.timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)

    @property
    def expires_at(self) -> datetime:
        return self.signed_at + timedelta(seconds=min(int(self.seconds), MAX_SECONDS))


def authenticate(request: HttpRequest) -> tuple[Caller, Signature]:
    """Who has signed the request. Raises Refused."""
    signature = read(request.headers.get("Authorization", ""))
    caller = caller_by_access_key(signature.access_key)
    if caller is None:
        # Wording that the SDK knows, and explains to its user.
        message = "NotFound, cause: Could not find credential."
        raise Refused(HTTPStatus.FORBIDDEN, "InvalidAccessKeyId", message)
    try:
        expected = sign(request, signature, secret_of(caller.key))
    except InvalidToken as error:
        message = "The secret of this key can no longer be read here. Make a new key."
        raise Refused(HTTPStatus.FORBIDDEN, "InvalidAccessKeyId", message) from error
    if not hmac.compare_digest(expected.encode(), signature.signature.encode()):
        message = "SignatureDoesNotMatch, cause: Fail to authn user: Signature does not match"
        raise Refused(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch", message)
    now = timezone.now()
    if now > signature.expires_at:
        raise Refused(HTTPStatus.BAD_REQUEST, "RequestExpired", "The signature has expired.")
    if signature.signed_at - now > MAX_AHEAD:
        message = f"The signature is from the future; the time here is {now:%Y-%m-%dT%H:%M:%SZ}."
        raise Refused(HTTPStatus.BAD_REQUEST, "RequestExpired", message)
    return caller, signature


def read(header: str) -> Signature:
    """The parts of an Authorization header. Raises Refused."""
    if not header:
        raise Refused(HTTPStatus.FORBIDDEN, "SignatureEmpty", "The request is not signed.")
    parts = header.split("/")
    if len(parts) != 6 or parts[0] != SCHEME or not parts[1] or not parts[5]:
        raise _malformed(f"it must be {SCHEME}/<access key>/<timestamp>/<seconds>/<headers>/<signature>")
    names = tuple(name.strip().lower() for name in parts[4].split(";") if name.strip())
    signature = Signature(parts[1], parts[2], parts[3], names, parts[5])
    try:
        signature.signed_at  # noqa: B018
    except ValueError as error:
        raise _malformed("the timestamp must look like 2026-01-31T12:00:00Z") from error
    # Ten digits are 300 years.
    if not (parts[3].isascii() and parts[3].isdecimal() and len(parts[3]) <= 10):
        raise _malformed("the seconds it is good for must be a whole number")
    if names and "host" not in names:
        # Else it would be as good for another server.
        raise _malformed("the header host must be signed")
    return signature


def _malformed(reason: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, "InvalidHTTPAuthHeader", f"Authorization is not valid: {reason}.")


def sign(request: HttpRequest, signature: Signature, secret_key: str) -> str:
    """The signature that the request should have, in hexadecimal."""
    signing_key = _hmac(secret_key, signature.prefix)
    canonical = "\n".join(
        (
            request.method or "",
            request.path,
            _canonical_query(request.META.get("QUERY_STRING", "")),
            _canonical_headers(request, signature.headers),
        )
    )
    return _hmac(signing_key, canonical)


def _hmac(key: str, message: str) -> str:
    return hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()


def _canonical_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = (pair for pair in pairs if pair[0].lower() != "authorization")
    return "&".join(sorted(f"{_encoded(key)}={_encoded(value)}" for key, value in kept))


def _canonical_headers(request: HttpRequest, names: tuple[str, ...]) -> str:
    if not names:
        bce = (name.lower() for name in request.headers if name.lower().startswith("x-bce-"))
        names = (*DEFAULT_HEADERS, *bce)
    found = {name: request.headers.get(name, "").strip() for name in names}
    # WSGI gives header bytes as latin-1.
    lines = (
        f"{_encoded(name)}:{quote(value.encode('latin-1'), safe='')}"
        for name, value in found.items()
        if value
    )
    return "\n".join(sorted(lines))


def _encoded(text: str) -> str:
    return quote(text, safe="")


def refuse_replay(request: HttpRequest, signature: Signature) -> None:
    """Remembers a request that creates something; raises Refused for one that was carried out before.

    Call it in the transaction that creates: what fails is not remembered, and of two at the same moment the second
    waits for the first.
    """
    seen = hashlib.sha256(f"{signature.prefix}/{signature.signature}\n".encode() + request.body)
    UsedSignature.objects.filter(expires_at__lt=timezone.now()).delete()
    try:
        with transaction.atomic():
            UsedSignature(seen.hexdigest(), signature.expires_at).save(force_insert=True)
    except IntegrityError as error:
        message = "This very request was carried out already. Sign it again to repeat it."
        raise Refused(HTTPStatus.FORBIDDEN, "RequestReplayed", message) from error
