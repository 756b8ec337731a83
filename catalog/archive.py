"""A published version as one archive, made while it is sent: nothing is stored, nothing is held in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

from zipstream import ZipStream

from catalog.models import ModelVersion
from datasets.storage import CHUNK_BYTES, stream


def archive(version: ModelVersion) -> ZipStream:
    """Returns the archive to iterate over; its length is known beforehand (`len`).

    The files are stored as they are, in a folder named after the version: weights do not get smaller. Raises
    FileNotFoundError while it is iterated over if the storage has lost a file.
    """
    content = ZipStream(sized=True)
    for file in version.files:
        name = f"{folder_name(version)}/{file['name']}"
        content.add(_pieces(f"{version.path}/{file['name']}"), name, size=file["size"])
    return content


def folder_name(version: ModelVersion) -> str:
    """Model and version as a name that every file system takes."""
    return f"{version.model.name}-{version.label}"


def _pieces(path: str) -> Iterator[bytes]:
    """The content of a file; it is opened when the first piece is wanted."""
    with closing(stream(path)) as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
