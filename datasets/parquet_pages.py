"""The columns of a Parquet file and their pages, read without pyarrow.

What the end of a file says of a column's size anybody can write there; how much memory a page takes is decided by its
header, in front of it. pyarrow does not show those, and for an end that contradicts itself its ColumnChunkMetaData does
not raise: it ends the process. So both are read here: Thrift's compact protocol (parquet.thrift has the numbers of the
fields), of which some numbers and names are of interest and the rest is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import IO, Any, NamedTuple

DICTIONARY = 2
HEADER_BYTES = 256
# With the smallest and largest value of a page in it, which are cut at a few kB by writers that mean well.
MAX_HEADER_BYTES = 1024**2
# Ends of files with thousands of row groups and columns stay below both; pyarrow makes objects of all of it.
MAX_END_BYTES = 64 * 1024**2
MAX_CHUNKS = 200_000
MAX_SCHEMA = 10_000
_MAX_DEPTH = 16
# Types of Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


# The types of columns by their numbers.
PHYSICAL_TYPES = (
    "BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY",
)  # fmt: skip


Fields = Mapping[int, Callable[..., Any]]


class BrokenPage(ValueError):
    """Where a page or the end of the file should be there is none."""


class Column(NamedTuple):
    """What the end of the file says of a column of a row group; no dictionary has the place 0."""

    path_in_schema: str
    physical_type: str
    num_values: int
    total_compressed_size: int
    data_page_offset: int
    dictionary_page_offset: int


class Page(NamedTuple):
    """Its kind, and its bytes in memory and in the file, without the header."""

    kind: int
    unpacked: int
    packed: int


@dataclass(frozen=True)
class Chunk:
    """A column of a row group: what its end says of its values, and bytes by its pages; `largest` is one page, and
    `dictionary` those of the values that are kept once."""

    path_in_schema: str
    physical_type: str
    num_values: int
    packed: int
    unpacked: int
    largest: int
    dictionary: int


def row_groups(file: IO[bytes]) -> list[list[Column]]:
    """The columns of each row group by the end of the file; raises BrokenPage."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > size - 12:
        raise BrokenPage("The file has no end")
    if length > MAX_END_BYTES:
        raise BrokenPage("The end of the file is too long")
    file.seek(size - 8 - length)
    try:
        found = _struct(BytesIO(file.read(length)), 0, {2: _schema, 4: partial(_list, read=_row_group)})
    except EOFError as error:
        raise BrokenPage("The end of the file is cut off") from error
    groups: list[list[Column]] = found.get(4, [])
    if sum(map(len, groups)) > MAX_CHUNKS:
        raise BrokenPage("The file has too many row groups and columns")
    return groups


def _schema(content: IO[bytes], depth: int) -> int:
    """Passes over the schema; returns how many elements it has."""
    return len(_list(content, depth, partial(_pass, kind=_STRUCT), MAX_SCHEMA))


def _row_group(content: IO[bytes], depth: int) -> list[Column]:
    return _struct(content, depth, {1: partial(_list, read=_column)}).get(1, [])  # type: ignore[no-any-return]


def _column(content: IO[bytes], depth: int) -> Column:
    at: Fields = {1: _number, 3: partial(_list, read=_name), 5: _number, 7: _number, 9: _number, 11: _number}
    given = _struct(content, depth, {3: partial(_struct, fields=at)}).get(3, {})
    kind, path = given.get(1, -1), given.get(3, [])
    if not 0 <= kind < len(PHYSICAL_TYPES) or min(given.get(number, 0) for number in (5, 7, 9, 11)) < 0:
        raise BrokenPage("The end of the file describes no column")
    numbers = (given.get(number, 0) for number in (5, 7, 9, 11))
    return Column(".".join(path), PHYSICAL_TYPES[kind], *numbers)


def chunk_of(file: IO[bytes], column: Column) -> Chunk:
    """Looks at the pages of a column; raises BrokenPage."""
    packed = unpacked = largest = dictionary = 0
    for page in _pages(file, column):
        packed, unpacked = packed + page.packed, unpacked + page.unpacked
        largest = max(largest, page.unpacked)
        dictionary += page.unpacked if page.kind == DICTIONARY else 0
    names = column.path_in_schema, column.physical_type, column.num_values
    return Chunk(*names, packed, unpacked, largest, dictionary)


def _pages(file: IO[bytes], column: Column) -> Iterator[Page]:
    """Yields a column's pages, as far as pyarrow would read them."""
    if not column.num_values:
        return
    position = column.data_page_offset
    if 0 < column.dictionary_page_offset < position:
        position = column.dictionary_page_offset
    end = position + column.total_compressed_size
    while position < end:
        page, size = _header(file, position)
        yield page
        position += size + page.packed


def _header(file: IO[bytes], position: int) -> tuple[Page, int]:
    """The page that begins at a place of the file, and how long its header is."""
    wanted = HEADER_BYTES
    while True:
        file.seek(position)
        content = BytesIO(file.read(wanted))
        try:
            numbers = _struct(content, 0, {1: _number, 2: _number, 3: _number})
        except EOFError as error:
            if len(content.getvalue()) < wanted or wanted >= MAX_HEADER_BYTES:
                raise BrokenPage(f"No page at byte {position}") from error
            wanted *= 16
            continue
        page = Page(*(numbers.get(number, -1) for number in (1, 2, 3)))
        if min(page) < 0:
            raise BrokenPage(f"No page at byte {position}")
        return page, content.tell()


def _struct(content: IO[bytes], depth: int, fields: Fields) -> dict[int, Any]:
    """Reads a struct; returns what the `fields` of interest make of their values."""
    values: dict[int, Any] = {}
    number = 0
    while kind := _byte(content):
        step, kind = kind >> 4, kind & 15
        number = number + step if step else _number(content)
        if number in fields and kind in (_I32, _I64, _LIST, _STRUCT):
            values[number] = fields[number](content, depth=depth + 1)
        elif kind not in (_TRUE, _FALSE):
            _pass(content, depth + 1, kind)
    return values


def _list(content: IO[bytes], depth: int, read: Callable[..., Any], limit: int = MAX_CHUNKS) -> list[Any]:
    """Reads a list, each item with `read`; raises BrokenPage for a longer one."""
    head = _byte(content)
    count = head >> 4 if head >> 4 < 15 else _varint(content)
    if count > limit:
        raise BrokenPage("A list in the file is too long")
    return [read(content, depth=depth + 1) for _item in range(count)]


def _pass(content: IO[bytes], depth: int, kind: int) -> None:
    """Passes over a value."""
    if depth > _MAX_DEPTH:
        raise BrokenPage("A page's header is nested too deep")
    if kind in (_I16, _I32, _I64):
        _varint(content)
    elif kind in (_TRUE, _FALSE, _BYTE):
        _byte(content)
    elif kind == _DOUBLE:
        _bytes(content, 8)
    elif kind == _BINARY:
        _bytes(content, _varint(content))
    elif kind in (_LIST, _SET):
        head = _byte(content)
        for _item in range(head >> 4 if head >> 4 < 15 else _varint(content)):
            _pass(content, depth + 1, head & 15)
    elif kind == _STRUCT:
        _struct(content, depth, {})
    else:
        # Headers of pages have no maps.
        raise BrokenPage("A page's header is none")


def _byte(content: IO[bytes]) -> int:
    return _bytes(content, 1)[0]


def _bytes(content: IO[bytes], count: int) -> bytes:
    read = content.read(count)
    if len(read) < count:
        raise EOFError
    return read


def _varint(content: IO[bytes]) -> int:
    value = shift = 0
    while True:
        byte = _byte(content)
        value |= (byte & 127) << shift
        if byte < 128:
            return value
        shift += 7
        if shift > 63:
            raise BrokenPage("A page's header holds a number that is too long")


def _name(content: IO[bytes], depth: int = 0) -> str:
    """A text."""
    return _bytes(content, _varint(content)).decode(errors="replace")


def _number(content: IO[bytes], depth: int = 0) -> int:
    """A number with its sign."""
    value = _varint(content)
    return (value >> 1) ^ -(value & 1)
