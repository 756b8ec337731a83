"""Unpacks .zip and .tar.gz archives, and single files in .gz, that come from anybody, piece by piece, within limits.

Members are written to numbered files of a directory, never to a path of the archive's choosing, so that no name
can lead out of it. What only an attack or an accident has (paths that leave the archive, links, devices, sizes
that explode) refuses the archive as a whole.
"""

from __future__ import annotations

import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

CHUNK_BYTES = 1024 * 1024
MAX_MEMBERS = 100_000
# Texts shrink to a tenth, repeated rows to a hundredth; deflate can reach 1:1032, which only bombs do.
MAX_RATIO = 300
# Below this size a ratio says nothing.
RATIO_FROM_BYTES = 64 * 1024**2
# The list of a zip's members is held in memory: 64 MB are enough for half a million of them.
MAX_DIRECTORY_BYTES = 64 * 1024**2
# tarfile reads long names and extended headers as a whole.
MAX_TAR_HEADER_BYTES = 4 * 1024**2

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".gz")
_NESTED = (*ARCHIVES, ".tar", ".bz2", ".xz", ".7z", ".rar", ".zst")
# Left by operating systems; nobody put them there.
_JUNK = ("__macosx", ".ds_store", "thumbs.db", "desktop.ini")

# What the libraries raise for damaged archives.
DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    NotImplementedError,
    RuntimeError,
)


class Refused(Exception):
    """An archive that is not unpacked: a kind of datasets.problems.KINDS with its params."""

    def __init__(self, kind: str, **params: Any) -> None:
        super().__init__(kind, params)
        self.kind = kind
        self.params = params


@dataclass(frozen=True)
class Member:
    """A file of an archive, unpacked to `path`; `name` is its path in the archive, parts joined by /."""

    name: str
    path: Path
    size: int


@dataclass
class Budget:
    """How many bytes may still be unpacked, over all archives of one import."""

    left: int
    limit: int

    def take(self, size: int) -> None:
        """Raises Refused where the bytes are too many."""
        self.left -= size
        if self.left < 0:
            raise Refused("archive_too_large", limit=self.limit // 1024**3)


# Name of a member, its declared size (None where nothing says it), and what it is read from.
_Found = tuple[str, int | None, IO[bytes]]


def unpack(
    file: IO[bytes], name: str, directory: Path, budget: Budget, report: Callable[[int], None]
) -> Iterator[Member]:
    """Yields the files of a seekable archive; raises Refused. `report` is told the bytes of the archive read."""
    size = file.seek(0, 2)
    file.seek(0)
    if name.lower().endswith(".zip"):
        members = _zip_members(file, size, budget)
    elif name.lower().endswith((".tar.gz", ".tgz")):
        members = _tar_members(file, budget)
    else:
        members = _gz_member(file, PurePosixPath(name).name.removesuffix(PurePosixPath(name).suffix), budget)
    taken: set[str] = set()
    try:
        for number, (raw_name, declared, stream) in enumerate(members, 1):
            if number > MAX_MEMBERS:
                raise Refused("archive_too_many", limit=MAX_MEMBERS)
            member = safe_name(raw_name)
            if _is_junk(member):
                continue
            if member in taken:
                raise Refused("archive_same_name", name=member[:100])
            taken.add(member)
            path = directory / str(len(taken))
            copied = _copy(stream, path, file, report)
            if declared is not None and copied != declared:
                raise Refused("archive_broken", detail="a file is shorter than declared")
            yield Member(member, path, copied)
    except DAMAGE as error:
        detail = "" if isinstance(error, EOFError) else str(error)[:100]
        raise Refused("archive_broken", detail=detail or "unexpected end of file") from error


def is_nested(name: str) -> bool:
    """True for an archive within an archive."""
    return name.lower().endswith(_NESTED)


def safe_name(name: str) -> str:
    """The path of a member in its normal form; raises Refused for one that leads out of the archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or "\0" in name or ":" in (path.parts or ("",))[0]:
        raise Refused("archive_unsafe_name", name=name[:100])
    return str(path)


def _is_junk(name: str) -> bool:
    parts = name.lower().split("/")
    return parts[0] in _JUNK or parts[-1] in _JUNK or parts[-1].startswith("._")


def _copy(stream: IO[bytes], path: Path, archive: IO[bytes], report: Callable[[int], None]) -> int:
    size = 0
    with path.open("wb") as target:
        while chunk := stream.read(CHUNK_BYTES):
            target.write(chunk)
            size += len(chunk)
            report(archive.tell())
    return size


# --- zip -----------------------------------------------------------------------------------------------------


def _zip_members(file: IO[bytes], size: int, budget: Budget) -> Iterator[_Found]:
    if _directory_bytes(file, size) > MAX_DIRECTORY_BYTES:
        raise Refused("archive_too_many", limit=MAX_MEMBERS)
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        if len(infos) > MAX_MEMBERS:
            raise Refused("archive_too_many", limit=MAX_MEMBERS)
        declared = sum(info.file_size for info in infos)
        # zipfile gives out no more than the declared size of a member, so these sums hold.
        _check_ratio(declared, size)
        budget.take(declared)
        for info in infos:
            if stat.S_ISLNK(info.external_attr >> 16):
                raise Refused("archive_link", name=info.filename[:100])
            if info.flag_bits & 1:
                raise Refused("archive_encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Refused("archive_method")
            with archive.open(info) as stream:
                yield _decoded_name(info), info.file_size, stream


def _decoded_name(info: zipfile.ZipInfo) -> str:
    """The name of a member. Windows in Chinese writes GBK without saying so, which zipfile takes for cp437."""
    if info.flag_bits & 0x800:
        return info.filename
    return _readable(info.filename.encode("cp437", "replace"))


def _readable(raw: bytes) -> str:
    """A name of which nobody says how it is encoded."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "replace")


def _directory_bytes(file: IO[bytes], size: int) -> int:
    """How long the zip's list of members says it is, before zipfile reads it as a whole (PKWARE APPNOTE 4.3)."""
    file.seek(max(0, size - 65_557))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise zipfile.BadZipFile("no end record")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    if directory == 0xFFFFFFFF and (wide := tail.rfind(b"PK\x06\x06", 0, at)) >= 0:
        directory = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    return directory


# --- tar.gz --------------------------------------------------------------------------------------------------


class _Metered:
    """The unpacked bytes of a .gz file, read forwards only, counted against ratio and budget."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self.file = file
        self.gzip = gzip.GzipFile(fileobj=file)
        self.budget = budget
        self.position = 0

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_TAR_HEADER_BYTES:
            raise Refused("archive_broken", detail="a header is too long")
        data = self.gzip.read(size)
        self.position += len(data)
        self.budget.take(len(data))
        _check_ratio(self.position, self.file.tell())
        return data

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> int:
        if position < self.position:
            raise tarfile.ReadError("the archive goes backwards")
        while self.position < position and self.read(min(CHUNK_BYTES, position - self.position)):
            pass
        return self.position


def _tar_members(file: IO[bytes], budget: Budget) -> Iterator[_Found]:
    stream: Any = _Metered(file, budget)
    with tarfile.open(fileobj=stream, mode="r:", encoding="utf-8") as archive:
        while (info := archive.next()) is not None:
            # tarfile keeps every member it has seen.
            archive.members = []  # type: ignore[misc, attr-defined]
            if info.isdir():
                continue
            if not info.isreg() or info.issparse():
                raise Refused("archive_link", name=info.name[:100])
            member = archive.extractfile(info)
            assert member is not None
            yield _readable(info.name.encode("utf-8", "surrogateescape")), info.size, member
    # The checksum of the .gz stands at its end, after what tar reads.
    while rest := stream.read(CHUNK_BYTES):
        if rest.strip(b"\0"):
            raise Refused("archive_broken", detail="more data after the end of the archive")


def _gz_member(file: IO[bytes], name: str, budget: Budget) -> Iterator[_Found]:
    """The one file in a .gz, under the name of that without its ending. How long it is shows at its end."""
    stream: Any = _Metered(file, budget)
    yield name, None, stream


def _check_ratio(unpacked: int, packed: int) -> None:
    if unpacked > RATIO_FROM_BYTES and unpacked > MAX_RATIO * max(1, packed):
        raise Refused("archive_bomb", ratio=MAX_RATIO)
