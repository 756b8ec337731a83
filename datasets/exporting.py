"""A version as a file in any of the formats that can hold its rows, read from the storage piece by piece.

Which formats there are follows from datasets/formats: `record` writes a row, `lacks` says what gets lost, `columns` and
`cells` whether records fit into Parquet and CSV. Versions with pictures come as a .zip that holds them as well.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import PurePosixPath
from typing import IO, Any

import msgspec
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.formats import FORMATS
from datasets.formats.base import Format, Row, turns
from datasets.models import DatasetVersion, RowType
from datasets.pictures import open_picture
from datasets.rows import iter_rows

PICTURE_TYPES = (RowType.IMAGE_CAPTION, RowType.IMAGE_MESSAGES)
CHUNK_BYTES = 256 * 1024
PARQUET_ROWS = 2048
# What spreadsheets take for the start of a formula (OWASP, CSV injection).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Container:
    """A kind of file."""

    key: str
    label: Promise | str
    content_type: str


CONTAINERS = {
    container.key: container
    for container in (
        Container("jsonl", gettext_lazy("JSON lines"), "application/jsonl"),
        Container("csv", gettext_lazy("CSV, for spreadsheets"), "text/csv; charset=utf-8"),
        Container("parquet", gettext_lazy("Parquet"), "application/vnd.apache.parquet"),
        Container("zip", gettext_lazy("Archive with the pictures"), "application/zip"),
    )
}

# What a row may have that not every format or kind of file has a place for. The second text names the lack.
FEATURES: dict[str, tuple[Callable[[Row, bytes], bool], Promise | str]] = {
    "weights": (
        lambda _row, line: b'"weight":0' in line,
        gettext_lazy("replies that are read but not learned (weight 0)"),
    ),
    "turns": (lambda row, _line: turns(row) > 1, gettext_lazy("more than one turn")),
    "system": (
        lambda row, _line: bool(row.get("messages")) and row["messages"][0]["role"] == "system",
        gettext_lazy("a system text"),
    ),
}


class Refused(Exception):
    """The version cannot be written so; the text says why, for the user."""


@dataclass(frozen=True)
class Loss:
    """Rows that a file has no place for: how many, the number (from 1) of the first, and what they have."""

    count: int
    first: int
    feature: Promise | str


@dataclass(frozen=True)
class Export:
    """One way to write a version."""

    format: Format
    container: Container

    @property
    def key(self) -> str:
        return f"{self.format.key}.{self.container.key}"

    @property
    def lacks(self) -> frozenset[str]:
        """What rows may have that is lost: keys of FEATURES."""
        if self.container.key != "csv" or self.format.row_type == RowType.TEXT:
            return self.format.lacks
        cells = self.format.cells
        missing = {"turns"} | ({"system"} - set(cells)) | (set() if "weight" in cells else {"weights"})
        return self.format.lacks | missing


def exports_of(version: DatasetVersion) -> list[Export]:
    """Every way in which the rows of a version can be written."""
    found = []
    for format_ in FORMATS.values():
        if format_.row_type != version.dataset.row_type:
            continue
        if format_.row_type in PICTURE_TYPES:
            keys = ["zip"]
        else:
            keys = ["jsonl", *(["csv"] if format_.cells else []), *(["parquet"] if format_.columns else [])]
        found += [Export(format_, CONTAINERS[key]) for key in keys]
    return found


def choose(version: DatasetVersion, key: str) -> Export:
    """The export of that key; raises Refused."""
    if not version.row_count:
        raise Refused(_("This version has no rows."))
    found = next((export for export in exports_of(version) if export.key == key), None)
    if found is None:
        raise Refused(_("The rows of this version cannot be written in this format."))
    return found


def file_name(version: DatasetVersion, export: Export) -> str:
    return f"{version.dataset.name}-{version.label}-{export.format.key}.{export.container.key}"


def loss(version: DatasetVersion, export: Export) -> Loss | None:
    """What would be lost, None where everything fits. Reads the rows only if the format lacks something."""
    tests = [FEATURES[key] for key in sorted(export.lacks)]
    if not tests:
        return None
    count, first, feature = 0, 0, tests[0][1]
    for number, line in enumerate(iter_rows(version), 1):
        lacking = _lacking(line, tests)
        if lacking is not None:
            count += 1
            if count == 1:
                first, feature = number, lacking
    return Loss(count, first, feature) if count else None


def _lacking(line: bytes, tests: Iterable[tuple[Any, Promise | str]]) -> Promise | str | None:
    row = msgspec.json.decode(line)
    return next((text for has, text in tests if has(row, line)), None)


def written(version: DatasetVersion, export: Export) -> Iterator[bytes]:
    """Yields the file; rows that it has no place for are left out. Raises FileNotFoundError at the first piece."""
    write = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet, "zip": _zip}[export.container.key]
    return write(version, export)


def _rows(version: DatasetVersion, export: Export) -> Iterator[Row]:
    tests = [FEATURES[key] for key in sorted(export.lacks)]
    for line in iter_rows(version):
        row: Row = msgspec.json.decode(line)
        if not any(has(row, line) for has, _text in tests):
            yield row


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Joins small pieces: a response sends each one by itself."""
    waiting, size = [], 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _jsonl(version: DatasetVersion, export: Export) -> Iterator[bytes]:
    encode, record = msgspec.json.Encoder().encode, export.format.record
    return _gathered(encode(record(row)) + b"\n" for row in _rows(version, export))


def _csv(version: DatasetVersion, export: Export) -> Iterator[bytes]:
    return _gathered(_csv_lines(version, export))


def _csv_lines(version: DatasetVersion, export: Export) -> Iterator[bytes]:
    cells = export.format.cells
    text = StringIO(newline="")
    writer = csv.DictWriter(text, cells, restval="", extrasaction="ignore")
    writer.writeheader()
    # The mark by which spreadsheets know UTF-8.
    yield b"\xef\xbb\xbf"
    for row in _rows(version, export):
        record = export.format.flat(row)
        writer.writerow({key: _cell(value) for key, value in record.items()})
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()
    # Without a row, still the head.
    yield text.getvalue().encode()


def _cell(value: Any) -> Any:
    """A value that no spreadsheet runs: a text that starts like a formula gets an apostrophe before it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


class _Pipe:
    """A file that is written from start to end and handed on piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        piece = bytes(data)
        self._pieces.append(piece)
        self._position += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        if pieces:
            yield b"".join(pieces)


def _parquet(version: DatasetVersion, export: Export) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _arrow_type(pa, example)) for name, example in export.format.columns.items()])
    pipe = _Pipe()
    with pq.ParquetWriter(pa.PythonFile(pipe, mode="w"), schema, compression="zstd") as writer:
        records: list[Any] = []
        for row in _rows(version, export):
            records.append(export.format.record(row))
            if len(records) >= PARQUET_ROWS:
                writer.write_table(pa.Table.from_pylist(records, schema))
                records = []
                yield from pipe.take()
        writer.write_table(pa.Table.from_pylist(records, schema))
    yield from pipe.take()


def _arrow_type(pa: Any, example: Any) -> Any:
    """The type of a column, after the example of a value in Format.columns."""
    if isinstance(example, list):
        return pa.list_(_arrow_type(pa, example[0]))
    if isinstance(example, dict):
        return pa.struct([(name, _arrow_type(pa, value)) for name, value in example.items()])
    return {bool: pa.bool_(), int: pa.int64(), str: pa.string()}[type(example)]


def _zip(version: DatasetVersion, export: Export) -> Iterator[bytes]:
    """metadata.jsonl and, under images/, the pictures that its rows name."""
    encode = msgspec.json.Encoder().encode
    pipe = _Pipe()
    names: set[str] = set()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED, allowZip64=True) as archive:  # type: ignore[arg-type]
        with archive.open("metadata.jsonl", "w", force_zip64=True) as member:
            for row in _rows(version, export):
                names.add(PurePosixPath(row["image"]).name)
                member.write(encode(export.format.record(row)) + b"\n")
                yield from pipe.take()
        for name in sorted(names):
            # Pictures are compressed already.
            with open_picture(version, name) as source, archive.open(_member(name), "w") as member:
                yield from _copied(source, member, pipe)
    yield from pipe.take()


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"images/{name}")
    info.compress_type = zipfile.ZIP_STORED
    return info


def _copied(source: IO[bytes], member: IO[bytes], pipe: _Pipe) -> Iterator[bytes]:
    while piece := source.read(CHUNK_BYTES):
        member.write(piece)
        yield from pipe.take()
