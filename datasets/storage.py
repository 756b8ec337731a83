"""Files of datasets out of the storage, without ever holding one in memory.

On a disk a file is simply opened. django-storages' S3 files download themselves as a whole before the first byte
is given out, so that here the object is streamed, or copied to a temporary file where somebody must go back in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import IO, Any, cast

from django.core.files.storage import default_storage

CHUNK_BYTES = 256 * 1024


def stream(path: str) -> IO[bytes]:
    """Opens a file for reading from start to end; raises FileNotFoundError."""
    file: Any = default_storage.open(path, "rb")
    return cast(IO[bytes], file.obj.get()["Body"] if _is_s3(file) else file.file)


def lines(path: str) -> Generator[bytes, None, None]:
    """Yields the lines of a file without their ends; raises FileNotFoundError."""
    with closing(stream(path)) as file:
        if hasattr(file, "iter_lines"):
            yield from file.iter_lines(CHUNK_BYTES)
        else:
            for line in file:
                yield line.rstrip(b"\n")


@contextmanager
def seekable(path: str) -> Iterator[IO[bytes]]:
    """Opens a file for reading back and forth; raises FileNotFoundError."""
    with default_storage.open(path, "rb") as file:
        if not _is_s3(file):
            yield cast(IO[bytes], file.file)
            return
        with tempfile.TemporaryFile() as copy:
            cast(Any, file).obj.download_fileobj(copy)
            copy.seek(0)
            yield copy


def _is_s3(file: Any) -> bool:
    return hasattr(file, "obj")
