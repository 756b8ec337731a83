"""boto3's clients refuse addresses inside the operator's network at every connection (console/endpoints.py)."""

from __future__ import annotations

from typing import Any

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)

from console.endpoints import Checked


class _HTTPConnection(Checked, AWSHTTPConnection):
    pass


class _HTTPSConnection(Checked, AWSHTTPSConnection):
    pass


class _HTTPPool(AWSHTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(AWSHTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def guard(client: Any) -> None:
    """Makes a boto3 client refuse inner addresses at every connection that it opens, to whichever host.

    botocore has no public way to give connections; tests/datasets/test_connections.py says if this one ends.
    """
    session = client._endpoint.http_session
    session._manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
