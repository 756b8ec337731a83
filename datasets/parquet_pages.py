"""The pages of a Parquet file by their own headers.

What the end of a file says of a column's size anybody can write there; how much memory a page takes is decided by its
header, in front of it. pyarrow does not show those, so they are read here: Thrift's compact protocol, of which three
numbers are of interest and the rest is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, NamedTuple

DICTIONARY = 2
HEADER_BYTES = 256
# With the smallest and largest value of a page in it, which are cut at a few kB by writers that mean well.
MAX_HEADER_BYTES = 1024**2
_MAX_DEPTH = 16
# Types of Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


class BrokenPage(ValueError):
    """Where a page should begin there is none."""


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


def chunk_of(file: IO[bytes], column: Any) -> Chunk:
    """Looks at the pages of a column (pyarrow's ColumnChunkMetaData); raises BrokenPage."""
    packed = unpacked = largest = dictionary = 0
    for page in _pages(file, column):
        packed, unpacked = packed + page.packed, unpacked + page.unpacked
        largest = max(largest, page.unpacked)
        dictionary += page.unpacked if page.kind == DICTIONARY else 0
    names = column.path_in_schema, column.physical_type, column.num_values
    return Chunk(*names, packed, unpacked, largest, dictionary)


def _pages(file: IO[bytes], column: Any) -> Iterator[Page]:
    """Yields a column's pages, as far as pyarrow would read them."""
    if not column.num_values:
        return
    position = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < position:
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
            numbers = _struct(content, 0)
        except EOFError as error:
            if len(content.getvalue()) < wanted or wanted >= MAX_HEADER_BYTES:
                raise BrokenPage(f"No page at byte {position}") from error
            wanted *= 16
            continue
        page = Page(*(numbers.get(number, -1) for number in (1, 2, 3)))
        if min(page) < 0:
            raise BrokenPage(f"No page at byte {position}")
        return page, content.tell()


def _struct(content: IO[bytes], depth: int) -> dict[int, int]:
    """Reads a struct; returns its 32-bit numbers by their fields."""
    numbers: dict[int, int] = {}
    number = 0
    while kind := _byte(content):
        step, kind = kind >> 4, kind & 15
        number = number + step if step else _number(content)
        if kind == _I32:
            numbers[number] = _number(content)
        elif kind not in (_TRUE, _FALSE):
            _pass(content, kind, depth + 1)
    return numbers


def _pass(content: IO[bytes], kind: int, depth: int) -> None:
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
            _pass(content, head & 15, depth + 1)
    elif kind == _STRUCT:
        _struct(content, depth)
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


def _number(content: IO[bytes]) -> int:
    """A number with its sign."""
    value = _varint(content)
    return (value >> 1) ^ -(value & 1)
