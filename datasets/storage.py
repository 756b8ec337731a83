"""Files of datasets out of the storage, without ever holding one in memory.

On a disk a file is simply opened. django-storages' S3 files download themselves as a whole before the first byte
is given out, so that here the object is streamed, copied to a temporary file where somebody must go back in it, or
asked for the pieces that somebody wants to see.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, cast

from django.core.files import File
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


@contextmanager
def in_parts(path: str) -> Iterator[IO[bytes]]:
    """Opens a file of which only some parts are wanted; raises FileNotFoundError."""
    with default_storage.open(path, "rb") as file:
        yield cast(IO[bytes], _Parts(cast(Any, file).obj) if _is_s3(file) else file.file)


def copy(path: str, target: str) -> str:
    """Copies a file within the storage and returns its path there; raises FileNotFoundError.

    Nothing that is large passes through this process: stored files are replaced and removed but never written to,
    so that on a disk a second name is enough, and an object storage copies by itself.
    """
    with default_storage.open(path, "rb") as file:
        if _is_s3(file):
            # Finds out first whether the object is there; objects over 8 MB are copied in parts.
            source = cast(Any, file).obj
            key = f"{source.key.removesuffix(path)}{target}"
            source.Bucket().copy({"Bucket": source.bucket_name, "Key": source.key}, key)
            return target
        return default_storage.save(target, Linked(cast(IO[bytes], file.file)))


class Linked(File):  # type: ignore[type-arg]
    """A file on a disk. A storage on the same disk takes it over by a name instead of copying it."""

    def temporary_file_path(self) -> str:
        """A second name of the file, for the storage to move: should it fail, the first one is still there."""
        original = Path(cast(IO[bytes], self.file).name)
        second = original.with_name(f"{original.name}.{secrets.token_hex(4)}.copy")
        try:
            os.link(original, second)
        except OSError:
            shutil.copyfile(original, second)
        return str(second)


class _Parts(io.RawIOBase):
    """An object of which each read fetches the bytes that it asks for, and no others."""

    def __init__(self, obj: Any) -> None:
        super().__init__()
        self.obj = obj
        self.size: int = obj.content_length
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + (0, self.position, self.size)[whence]
        return self.position

    def read(self, size: int = -1) -> bytes:
        end = self.size if size < 0 else min(self.size, self.position + size)
        if end <= self.position:
            return b""
        part = self.obj.get(Range=f"bytes={self.position}-{end - 1}")["Body"].read()
        self.position += len(part)
        return cast(bytes, part)


def _is_s3(file: Any) -> bool:
    return hasattr(file, "obj")
