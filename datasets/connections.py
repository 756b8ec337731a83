"""Object storage through boto3: clients, what went wrong in plain words, listing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.parsers.expat import ExpatError

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError
from cryptography.fernet import InvalidToken
from django.utils.translation import gettext as _
from urllib3.exceptions import HTTPError

from console.endpoints import EndpointRefused, InnerAddress, check_endpoint
from console.env import s3_config
from console.secrets import CONNECTIONS, decrypt, encrypt
from datasets.endpoints import guard
from datasets.models import Connection

PAGE_OBJECTS = 100
_sessions = threading.local()
# AWS's own, where no region is given.
DEFAULT_REGION = "us-east-1"
WRITING = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")


@dataclass(frozen=True)
class Preset:
    """What is known of a provider before somebody types anything."""

    key: str
    label: str
    endpoint: str
    region: str
    addressing: str


PRESETS = (
    Preset("bos", "Baidu BOS", "https://s3.bj.bcebos.com", "bj", "path"),
    Preset("aws", "AWS S3", "", DEFAULT_REGION, "virtual"),
    Preset("minio", "MinIO", "https://", DEFAULT_REGION, "path"),
)


class ConnectionFailed(FileNotFoundError):
    """Object storage did not give what was asked for. The text says why, for the user; `field` is that of the
    connection (or "") where it can be mended. For whoever only wants rows, they are not to be found."""

    def __init__(self, message: str, field: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message, self.field, self.code = message, field, code

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Found:
    """An object: its key, the part of it after the folder, bytes, entity tag without quotes, time."""

    key: str
    name: str
    size: int
    etag: str
    changed_at: datetime


@dataclass(frozen=True)
class Page:
    """A page of what lies in a folder; `next_token` leads to the next one, "" at the end."""

    folders: list[str]
    objects: list[Found]
    next_token: str


def set_secret(connection: Connection, secret: str) -> None:
    connection.secret_key = encrypt(secret, CONNECTIONS)


def client_of(connection: Connection, *, is_waited_for: bool = False) -> Any:
    """A client for the connection; raises ConnectionFailed for an endpoint that may not be called.

    `is_waited_for`: somebody looks at the page meanwhile, so that it gives up earlier.
    """
    if connection.endpoint:
        try:
            check_endpoint(connection.endpoint)
        except EndpointRefused as error:
            raise ConnectionFailed(str(error), "endpoint", "refused") from error
    try:
        secret = decrypt(connection.secret_key, CONNECTIONS)
    except InvalidToken as error:
        text = _("The secret key cannot be read any more, because SECRET_KEY was changed. Type it again.")
        raise ConnectionFailed(text, "secret", "secret_lost") from error
    try:
        client = _session().client(
            "s3",
            endpoint_url=connection.endpoint or None,
            region_name=connection.region or DEFAULT_REGION,
            aws_access_key_id=connection.access_key,
            aws_secret_access_key=secret,
            config=s3_config(
                connection.addressing,
                connect_timeout=4 if is_waited_for else 10,
                read_timeout=10 if is_waited_for else 60,
                retries={"mode": "standard", "total_max_attempts": 2 if is_waited_for else 5},
            ),
        )
    except (ValueError, BotoCoreError) as error:
        text = _("This is no endpoint or region: %(reason)s") % {"reason": error}
        raise ConnectionFailed(text, "endpoint", "invalid") from error
    guard(client)
    return client


def _session() -> boto3.session.Session:
    """This thread's: a session reads its descriptions of services from disk only once, but is not shared."""
    if not hasattr(_sessions, "s3"):
        _sessions.s3 = boto3.session.Session()
    session: boto3.session.Session = _sessions.s3
    return session


@contextmanager
def plain_words(connection: Connection, bucket: str = "") -> Iterator[None]:
    """Turns what boto3 raises into ConnectionFailed."""
    try:
        yield
    except ClientError as error:
        raise _said(connection, bucket or connection.bucket, error) from error
    except (BotoCoreError, ResponseParserError, HTTPError, ExpatError, OSError, ValueError) as error:
        if isinstance(error, ConnectionFailed):
            raise
        raise _unreachable(connection, error) from error


def test(connection: Connection) -> None:
    """Asks for something that a working connection gives; raises ConnectionFailed with the field to mend."""
    client = client_of(connection, is_waited_for=True)
    with plain_words(connection):
        if connection.bucket:
            is_s3 = "Name" in client.list_objects_v2(Bucket=connection.bucket, MaxKeys=1)
        else:
            is_s3 = "Owner" in (answer := client.list_buckets()) or "Buckets" in answer
    if not is_s3:
        raise ConnectionFailed(_not_s3(), "endpoint", "not_s3")


def buckets_of(connection: Connection) -> list[str]:
    """The buckets to choose from: the connection's own, or all that its keys may list; raises ConnectionFailed."""
    if connection.bucket:
        return [connection.bucket]
    client = client_of(connection, is_waited_for=True)
    with plain_words(connection):
        return [bucket["Name"] for bucket in client.list_buckets().get("Buckets", ())]


def page_of(connection: Connection, bucket: str, folder: str, token: str = "") -> Page:
    """What lies in a folder ("" or "a/b/"), a page at a time; raises ConnectionFailed."""
    client = client_of(connection, is_waited_for=True)
    more = {"ContinuationToken": token} if token else {}
    with plain_words(connection, bucket):
        answer = client.list_objects_v2(
            Bucket=bucket, Prefix=folder, Delimiter="/", MaxKeys=PAGE_OBJECTS, **more
        )
    return Page(
        folders=[item["Prefix"].removeprefix(folder) for item in answer.get("CommonPrefixes", ())],
        objects=[
            _found(item, folder) for item in answer.get("Contents", ()) if not item["Key"].endswith("/")
        ],
        next_token=answer.get("NextContinuationToken", "") if answer.get("IsTruncated") else "",
    )


def objects_below(
    connection: Connection, bucket: str, prefix: str, *, is_waited_for: bool
) -> Iterator[Found]:
    """Every object whose key begins with the prefix, folders within included; raises ConnectionFailed."""
    client = client_of(connection, is_waited_for=is_waited_for)
    with plain_words(connection, bucket):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    yield _found(item, prefix)


def _found(item: dict[str, Any], folder: str) -> Found:
    return Found(
        key=item["Key"],
        name=item["Key"].removeprefix(folder),
        size=item["Size"],
        etag=item["ETag"].strip('"'),
        changed_at=item["LastModified"],
    )


# --- What went wrong -----------------------------------------------------------------------------------------


def _said(connection: Connection, bucket: str, error: ClientError) -> ConnectionFailed:
    """What the server answered, in plain words. Codes: Amazon S3 API Reference, "List of error codes"; a HEAD
    request, which has no body, gives the HTTP status as the code."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    answered = error.response.get("Error", {})
    params = {"bucket": bucket, "code": code}
    if error.operation_name == "HeadObject" and code == "404":
        code = "NoSuchKey"
    match code:
        case "InvalidAccessKeyId" | "InvalidClientTokenId" | "UnrecognizedClientException":
            return ConnectionFailed(_("The server does not know this access key."), "access_key", code)
        case "SignatureDoesNotMatch":
            return ConnectionFailed(_("The secret key does not belong to the access key."), "secret", code)
        case "NoSuchBucket":
            return ConnectionFailed(_("There is no bucket named %(bucket)s.") % params, "bucket", code)
        case "InvalidBucketName":
            return ConnectionFailed(_("%(bucket)s is no name of a bucket.") % params, "bucket", code)
        case "NoSuchKey" | "PreconditionFailed":
            return ConnectionFailed(_("The object is no longer there, or it was changed."), "", code)
        case "RequestTimeTooSkewed" | "RequestExpired":
            text = _("The clock of this console and that of the server differ too much. Tell an operator.")
            return ConnectionFailed(text, "", code)
        case "AccessDenied" | "AllAccessDisabled" | "403" if error.operation_name in WRITING:
            text = _("This access key may not write into the bucket %(bucket)s.")
            return ConnectionFailed(text % params, "access_key", code)
        case "AccessDenied" | "AllAccessDisabled" | "403":
            field = "access_key" if connection.bucket else "bucket"
            text = (
                _("This access key may not list the bucket %(bucket)s.")
                if bucket
                else _("This access key may not list buckets. Name the bucket that it may use.")
            )
            return ConnectionFailed(text % params, field, code)
        case (
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "Redirect"
            | "301"
            | "307"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException"
        ):
            headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
            region = answered.get("Region") or headers.get("x-amz-bucket-region", "")
            if region:
                text = _("The bucket lies in the region %(region)s.") % {"region": region}
                return ConnectionFailed(text, "region", code)
            if endpoint := answered.get("Endpoint"):
                text = _("The server sends us on to %(endpoint)s, where it is not followed.")
                return ConnectionFailed(text % {"endpoint": endpoint}, "endpoint", code)
            text = _("The bucket lies in another region, or the server sends us on to another address.")
            return ConnectionFailed(text, "region", code)
    if not answered.get("Message") or code.isdecimal():
        text = _("The server failed to answer (%(code)s), or it does not speak S3.") % params
        if code.startswith("4"):
            text = _not_s3()
        return ConnectionFailed(text, "endpoint", code)
    text = _("The server refused (%(code)s): %(message)s") % (
        params | {"message": str(answered["Message"])[:200]}
    )
    return ConnectionFailed(text, "", code)


def _not_s3() -> str:
    return _("The server answers, but it does not speak S3. BOS, for instance, does so at s3.bj.bcebos.com.")


def _unreachable(connection: Connection, error: Exception) -> ConnectionFailed:
    """Why there was no answer, in plain words."""
    host = connection.endpoint or _("AWS")
    if _caused_by(error, InnerAddress):
        text = _("%(host)s leads to an address inside the network of this console, which it does not call.")
        return ConnectionFailed(text % {"host": host}, "endpoint", "refused")
    if isinstance(error, SSLError):
        text = _("No encrypted connection to %(host)s: %(reason)s")
        reason = str(error.kwargs.get("error", error))[:200]
        return ConnectionFailed(text % {"host": host, "reason": reason}, "endpoint", "tls")
    if isinstance(error, ResponseParserError | ExpatError):
        return ConnectionFailed(_not_s3(), "endpoint", "not_s3")
    if isinstance(error, ParamValidationError):
        return ConnectionFailed(_("This is no name of a bucket."), "bucket", "invalid")
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError):
        text = _("%(host)s did not answer in time.")
    elif isinstance(error, EndpointConnectionError):
        text = _("No connection to %(host)s. Check the address and whether the server is running.")
    else:
        text = _("The connection to %(host)s broke off.")
    return ConnectionFailed(text % {"host": host}, "endpoint", "unreachable")


def _caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an error of a kind is behind another one, as cause, context or argument."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop()
        if isinstance(current, kind):
            return True
        if id(current) not in seen:
            seen.add(id(current))
            behind = [current.__cause__, current.__context__, *current.args, getattr(current, "reason", None)]
            behind += list(getattr(current, "kwargs", {}).values())
            waiting += [item for item in behind if isinstance(item, BaseException)]
    return False
