"""What counts as a full disk or storage."""

import errno

import pytest
from botocore.exceptions import ClientError

from console.disks import is_full


def wrapped() -> Exception:
    try:
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        except OSError as error:
            raise ValueError("the rows could not be written") from error
    except ValueError as error:
        return error


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    ClientError({"Error": {"Code": "XMinioStorageFull"}}, "PutObject"),
    ClientError({"ResponseMetadata": {"HTTPStatusCode": 507}}, "PutObject"),
    RuntimeError("I/O error: No space left on device (os error 28)"),
    wrapped(),
]


@pytest.mark.parametrize("error", FULL, ids=repr)
def test_a_full_disk_is_known_through_whatever_it_is_told(error: Exception) -> None:
    assert is_full(error)


def test_other_errors_are_none() -> None:
    missing = ClientError(
        {"Error": {"Code": "NoSuchKey"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "GetObject"
    )
    assert not any(map(is_full, (OSError(errno.EACCES, "Permission denied"), missing, ValueError("no"))))
