"""The storage as a disk, and disks and storages that have no room left: what a person mends, and what then goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from botocore.exceptions import ClientError
from django.core.files.storage import default_storage

_FULL = (errno.ENOSPC, errno.EDQUOT)
# What the system says, for libraries and databases that put it into errors of their own, and what SQLite says.
_WORDS = (os.strerror(errno.ENOSPC), "database or disk is full")
# 507 Insufficient Storage, and what S3 storages say with another status (MinIO, Ceph).
_FULL_CODES = ("XMinioStorageFull", "InsufficientStorage", "QuotaExceeded")


def on_disk(path: str) -> Path | None:
    """Where a file of the storage lies, or would lie, on a disk; None in an object storage."""
    try:
        return Path(default_storage.path(path))
    except NotImplementedError:
        return None


def is_full(error: BaseException | None) -> bool:
    """Whether a disk, somebody's share of it or an object storage was full, according to an error or its causes."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if isinstance(error, ClientError):
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status == 507 or error.response.get("Error", {}).get("Code") in _FULL_CODES:
                return True
        if any(words in str(error) for words in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False
