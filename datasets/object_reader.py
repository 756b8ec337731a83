"""One object of a bucket as a file: streamed, never held, and never another one than it was."""

from __future__ import annotations

from io import RawIOBase
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ReadTimeoutError as BotoReadTimeoutError
from urllib3.exceptions import HTTPError

from datasets.connections import ConnectionFailed, client_of, plain_words
from datasets.models import Connection

BUFFER_BYTES = 256 * 1024


class ObjectChanged(ConnectionFailed):
    """The object is gone, or another one than it was."""


class ObjectReader(RawIOBase):
    """Reads an object as long as it has the given entity tag; wrap it into io.BufferedReader.

    A seek costs another request. A connection that breaks off is opened again where it stopped, as long as each
    one brings something. Raises ObjectChanged and ConnectionFailed.
    """

    def __init__(
        self, connection: Connection, bucket: str, key: str, etag: str, size: int, client: Any = None
    ) -> None:
        super().__init__()
        self.connection, self.bucket, self.key, self.etag, self.size = connection, bucket, key, etag, size
        self.client = client or client_of(connection)
        self.position = 0
        self._body: Any = None
        self._has_given = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = 0) -> int:
        position = offset + (0, self.position, self.size)[whence]
        if position != self.position:
            self._close_body()
            self.position = position
        return self.position

    def readinto(self, buffer: Any) -> int:
        if self.position >= self.size:
            return 0
        piece = self._read(len(buffer))
        buffer[: len(piece)] = piece
        self.position += len(piece)
        return len(piece)

    def _read(self, size: int) -> bytes:
        while True:
            if self._body is None:
                self._open()
            try:
                piece: bytes = self._body.read(size)
            except (HTTPError, HTTPClientError, BotoReadTimeoutError, OSError) as error:
                self._close_body()
                if not self._has_given:
                    with plain_words(self.connection, self.bucket):
                        raise error
                continue
            if piece:
                self._has_given = True
                return piece
            self._close_body()
            if not self._has_given:
                return b""

    def _open(self) -> None:
        """Asks for the rest of the object."""
        part = {"Range": f"bytes={self.position}-"} if self.position else {}
        self._has_given = False
        with plain_words(self.connection, self.bucket):
            try:
                answer = self.client.get_object(
                    Bucket=self.bucket, Key=self.key, IfMatch=f'"{self.etag.strip(chr(34))}"', **part
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("PreconditionFailed", "412", "NoSuchKey"):
                    raise ObjectChanged(self.key) from error
                raise
        self._body = answer["Body"]
        # Some servers, such as rclone's, pass over the condition and give whatever is there now.
        if answer.get("ETag", self.etag).strip('"') != self.etag.strip('"'):
            self._close_body()
            raise ObjectChanged(self.key)

    def _close_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None

    def close(self) -> None:
        self._close_body()
        super().close()
