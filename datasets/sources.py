"""Uploaded files laid out for an import: which of them hold rows, which are pictures, what is in the archives."""

from __future__ import annotations

import base64
import binascii
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO

from datasets import pictures, tables
from datasets.archives import ARCHIVES, Budget, Refused, is_nested, unpack
from datasets.encodings import as_utf8, recognised
from datasets.fast import Ready, ReadyBlock
from datasets.models import SourceFile
from datasets.pictures import PictureError
from datasets.reading import BEGINNING, Passed, Record, Shortcut, Unreadable, records
from datasets.storage import seekable

# All that the archives of one import may unpack to.
MAX_UNPACKED_BYTES = 20 * 1024**3
HEAD_BYTES = 1024 * 1024
# A caption is a sentence or a few; longer files with a picture's name are no captions.
MAX_CAPTION_BYTES = 64 * 1024

TEXTS = (".jsonl", ".json", ".csv", ".tsv", ".txt")
TABLES = (".xlsx", ".parquet")
EXTENSIONS = (*TEXTS, *TABLES, *ARCHIVES, *pictures.EXTENSIONS)

# The first bytes of files that are no text -> what people call them, and the endings that fit.
_SIGNATURES: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"PK\x03\x04", "ZIP", (".zip", ".xlsx")),
    (b"PK\x05\x06", "ZIP", (".zip",)),
    (b"\x1f\x8b", "gzip", (".tar.gz", ".tgz", ".gz")),
    (b"PAR1", "Parquet", (".parquet",)),
    (b"\xd0\xcf\x11\xe0", "Excel 97 (.xls)", ()),
    (b"%PDF", "PDF", ()),
    (b"7z\xbc\xaf", "7z", ()),
    (b"Rar!", "RAR", ()),
    (b"\xff\xd8\xff", "JPEG", pictures.EXTENSIONS),
    (b"\x89PNG", "PNG", pictures.EXTENSIONS),
    (b"GIF8", "GIF", pictures.EXTENSIONS),
)
_DATA_URL = re.compile(r"data:image/[\w.+-]+;base64,")

# Where a file lies: the number of its archive, 0 for files that were uploaded by themselves, and its path there.
Place = tuple[int, str]
Item = Record | Ready | ReadyBlock | Unreadable


@dataclass(frozen=True)
class DataFile:
    """A file of rows: an upload, or a member of an archive that lies unpacked at `path`."""

    name: str
    place: Place
    path: Path | str
    # The encoding, besides UTF-8, that somebody has agreed to read it in.
    encoding: str
    # Bytes of the import's progress that reading it stands for.
    share: int

    @property
    def identity(self) -> list[object]:
        """What tells it from other files, and from itself with another content."""
        return [self.name, self.place, self.encoding, self.share]

    @contextmanager
    def reading(
        self, shortcut: Shortcut, passed: Passed = BEGINNING
    ) -> Iterator[tuple[Iterator[Item], float]]:
        """Gives its records behind those that are passed, and what their `end` is multiplied by for progress; raises
        Refused, FileNotFoundError."""
        with self.opened() as file:
            size = file.seek(0, 2)
            yield _items(self.name, file, size, shortcut, passed), self.share / max(1, size)

    def raw(self) -> AbstractContextManager[IO[bytes]]:
        """Opens it as it is; raises FileNotFoundError."""
        return _open(self.path)

    @contextmanager
    def opened(self) -> Iterator[IO[bytes]]:
        """Opens it, a text in UTF-8; raises Refused for what is no text, or one in another encoding."""
        with self.raw() as file:
            start = file.read(HEAD_BYTES)
            suffix = suffix_of(self.name)
            _check_signature(suffix, start)
            encoding = recognised(start) if suffix in TEXTS else ""
            if not encoding:
                yield file
            elif encoding == self.encoding:
                with as_utf8(file, encoding) as copy:
                    yield copy
            else:
                raise Refused("other_encoding", encoding=encoding)


def _items(name: str, file: IO[bytes], size: int, shortcut: Shortcut, passed: Passed) -> Iterator[Item]:
    """Reads a file as its name says. Only lines of JSON can be entered in their middle; other records that are passed
    are read once more."""
    suffix = suffix_of(name)
    items: Iterator[Item]
    if suffix in (".csv", ".tsv"):
        items = tables.csv_records(file, size)
    elif suffix == ".xlsx":
        items = tables.xlsx_records(file, size)
    elif suffix == ".parquet":
        items = tables.parquet_records(file, size)
    elif suffix == ".txt" and not _holds_json(file):
        items = tables.text_records(file, size)
    else:
        return records(file, name, shortcut, passed)
    return islice(items, passed.items, None)


def _holds_json(file: IO[bytes]) -> bool:
    """True if the first line that is not blank is an object or a list."""
    file.seek(0)
    line = next((line for line in iter(lambda: file.readline(HEAD_BYTES), b"") if line.strip()), b"")
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _check_signature(suffix: str, start: bytes) -> None:
    """Raises Refused for a file that is something else than its name says."""
    for signature, label, suffixes in _SIGNATURES:
        if start.startswith(signature) and suffix not in suffixes:
            raise Refused("wrong_extension", suffix=suffix, found=label)


def suffix_of(name: str) -> str:
    """The ending of a file name that says what it is, in lower case."""
    name = name.lower()
    return next((suffix for suffix in ARCHIVES if name.endswith(suffix)), PurePosixPath(name).suffix)


@contextmanager
def _open(path: Path | str) -> Iterator[IO[bytes]]:
    """A file of the import's own directory, or of the storage."""
    if isinstance(path, Path):
        with path.open("rb") as file:
            yield file
    else:
        with seekable(path) as file:
            yield file


@dataclass(frozen=True)
class Problematic:
    """A file, or a member of an archive, that is left out: a kind of datasets.problems.KINDS."""

    name: str
    kind: str
    params: dict[str, object]


class Sources:
    """All files of an import. Archives are unpacked into `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.budget = Budget(MAX_UNPACKED_BYTES, MAX_UNPACKED_BYTES)
        self.files: list[DataFile] = []
        self.pictures: dict[Place, Path | str] = {}
        self.archives = 0
        self._by_name: dict[str, list[Place]] = {}

    def add(self, source: SourceFile, report: Callable[[int], None]) -> Iterator[Problematic]:
        """Takes in an uploaded file and yields what is wrong with it. `report` is told how much of it was read."""
        suffix = suffix_of(source.name)
        if suffix in ARCHIVES:
            yield from self._add_archive(source, report)
        elif suffix in pictures.EXTENSIONS:
            self._add_picture((0, source.name), source.path)
        else:
            self.files.append(
                DataFile(source.name, (0, source.name), source.path, source.encoding, source.size)
            )

    def _add_archive(self, source: SourceFile, report: Callable[[int], None]) -> Iterator[Problematic]:
        self.archives += 1
        folder = self.directory / str(self.archives)
        folder.mkdir()
        members: list[DataFile] = []
        found: list[tuple[Place, Path]] = []
        refused: list[Problematic] = []
        total = 0
        try:
            with seekable(source.path) as file:
                _check_signature(suffix_of(source.name), file.read(16))
                for member in unpack(file, source.name, folder, self.budget, report):
                    place, suffix = (self.archives, member.name), suffix_of(member.name)
                    name = f"{source.name}/{member.name}"
                    if is_nested(member.name):
                        refused.append(Problematic(name, "archive_nested", {}))
                    elif suffix in pictures.EXTENSIONS:
                        found.append((place, member.path))
                    elif suffix in (*TEXTS, *TABLES):
                        members.append(DataFile(name, place, member.path, source.encoding, member.size))
                        total += member.size
                    else:
                        refused.append(Problematic(name, "ignored_file", {}))
        except (Refused, FileNotFoundError) as error:
            # Of an archive that is broken or out to do harm nothing is taken.
            if isinstance(error, Refused):
                yield Problematic(source.name, error.kind, error.params)
            else:
                yield Problematic(source.name, "file_missing", {})
            return
        yield from refused
        if not members and not found and not any(one.kind == "archive_nested" for one in refused):
            yield Problematic(source.name, "no_rows", {})
        for place, path in found:
            self._add_picture(place, path)
        for data in members:
            # Unpacking was one half of the work.
            share = source.size // 2 * data.share // max(1, total)
            self.files.append(replace(data, share=share))

    def _add_picture(self, place: Place, path: Path | str) -> None:
        self.pictures[place] = path
        self._by_name.setdefault(PurePosixPath(place[1]).name.lower(), []).append(place)

    # --- Captions --------------------------------------------------------------------------------------------

    def take_captions(self) -> Captions | None:
        """Takes the files that have the name of a picture beside them out of `files`; None without pictures to caption.

        With pictures only, each of them is one without a caption, unless there are other files of rows.
        """
        stems = {_stem(place): place for place in self.pictures}
        captions: dict[Place, DataFile] = {}
        others = []
        for file in self.files:
            place = stems.get(_stem(file.place))
            if place and suffix_of(file.name) in (".json", ".txt") and place not in captions:
                captions[place] = file
            else:
                others.append(file)
        if not self.pictures or (others and not captions):
            return None
        self.files = others
        wanted = list(captions) if others else list(self.pictures)
        return Captions([(place, captions.get(place)) for place in wanted])

    # --- Pictures --------------------------------------------------------------------------------------------

    def find(self, reference: str, file: Place) -> Place:
        """The picture that a file's record names; raises PictureError.

        Its path counts from the folder of the file or from the top of the archive. Else the name alone decides,
        if there is one such picture: rows are often written with the paths of another machine.
        """
        group, name = file
        reference = reference.replace("\\", "/")
        for start in (posixpath.dirname(name), ""):
            place = (group, posixpath.normpath(posixpath.join(start, reference)).lstrip("/"))
            if place in self.pictures:
                return place
        alike = self._by_name.get(posixpath.basename(reference).lower(), [])
        if len(alike) > 1:
            ending = "/" + "/".join(reference.lower().split("/")[-2:])
            alike = [place for place in alike if f"/{place[1].lower()}".endswith(ending)]
        if len(alike) == 1:
            return alike[0]
        raise PictureError("picture_ambiguous" if alike else "picture_missing", name=reference[-100:])

    @contextmanager
    def picture(self, place: Place) -> Iterator[IO[bytes]]:
        """Opens a picture; raises FileNotFoundError."""
        with _open(self.pictures[place]) as file:
            yield file


def inline(reference: str | bytes) -> IO[bytes]:
    """A picture that is part of a record: its bytes, or a data URL; raises PictureError."""
    if isinstance(reference, bytes):
        return BytesIO(reference)
    if not (start := _DATA_URL.match(reference)):
        raise PictureError("picture_data_url")
    try:
        return BytesIO(base64.b64decode(reference[start.end() :], validate=True))
    except binascii.Error as error:
        raise PictureError("picture_data_url") from error


def _stem(place: Place) -> Place:
    return place[0], posixpath.splitext(place[1])[0].lower()


@dataclass(frozen=True)
class Captions:
    """Pictures, each with the file of the same name that describes it, or None."""

    pairs: list[tuple[Place, DataFile | None]]

    def read(self, start: int = 0) -> Iterator[tuple[Place, Record | Unreadable, int]]:
        """Yields for each picture from number `start` on its place, a record with `image` (or what is wrong), and bytes
        of progress."""
        for place, file in self.pairs[start:]:
            if file is None:
                yield place, Unreadable("no_caption", 1, None, 0, file=place[1]), 0
            else:
                yield place, _caption(place, file), file.share


def _caption(place: Place, file: DataFile) -> Record | Unreadable:
    try:
        with file.opened() as opened:
            size = opened.seek(0, 2)
            opened.seek(0)
            if size > MAX_CAPTION_BYTES:
                return Unreadable("caption_too_long", 1, None, 0, file=file.name)
            content = opened.read()
    except Refused as error:
        return Unreadable(error.kind, 1, None, 0, params=error.params, file=file.name)
    except FileNotFoundError:
        return Unreadable("file_missing", 1, None, 0, file=file.name)
    if suffix_of(file.name) == ".txt":
        try:
            text = content.decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            return Unreadable("encoding", 1, None, 0, params={"byte": error.start + 1}, file=file.name)
        return Record({"image": place[1], "prompt": text}, text, 1, None, 0, file=file.name)
    first = next(iter(records(BytesIO(content), file.name)), None)
    if first is None:
        return Unreadable("no_rows", 1, None, 0, file=file.name)
    if isinstance(first, Unreadable):
        return Unreadable(first.kind, first.line, None, 0, first.text, first.params, file.name)
    assert isinstance(first, Record)
    value = {**first.value, "image": place[1]} if isinstance(first.value, dict) else first.value
    return Record(value, first.text, first.line, None, 0, file=file.name)
