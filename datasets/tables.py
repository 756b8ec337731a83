"""Reads the rows of tables (.csv, .xlsx, .parquet) and of plain text (.txt) as records, one at a time.

A row becomes an object with a key for each column, and what it means is up to the formats: prompt and response,
instruction, input and output, text, image. Chinese headings are read as the English names.
"""

from __future__ import annotations

import csv
import datetime as dt
import math
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from typing import IO, Any

from datasets import pictures
from datasets.archives import DAMAGE, MAX_RATIO, RATIO_FROM_BYTES
from datasets.parquet_pages import Chunk, chunk_of, row_groups
from datasets.reading import MAX_RECORD_BYTES, Record, Unreadable

# A cell may be as long as a record.
csv.field_size_limit(MAX_RECORD_BYTES)

HEADINGS = {
    "问题": "prompt", "提问": "prompt", "描述": "prompt", "回答": "response", "答案": "response", "回复": "response",
    "指令": "instruction", "输入": "input", "输出": "output", "系统": "system", "文本": "text", "图片": "image",
}  # fmt: skip
# A worksheet is XML; its shared texts are held in memory.
MAX_SHEET_BYTES = 300 * 1024**2
MAX_SHEET_RATIO = 300
# More columns than any format has names for; a row of them is a record of that many keys.
MAX_COLUMNS = 1000
PARQUET_BATCH = 64
# Pages are unpacked as a whole, one of each column at a time. Writers make them of about 1 MB, with pictures of more.
MAX_PAGES_BYTES = 512 * 1024**2
# Rows that become Python objects at a time take at most so many bytes, except for a single one.
PARQUET_SLICE_BYTES = 32 * 1024**2
# What spreadsheets run when they open a file of ours: =HYPERLINK(…), @SUM(…), +cmd|…
_FORMULA = re.compile(r"[=+\-@]\s*[A-Za-z_.]+\s*[(|!]")


def csv_records(file: IO[bytes], size: int) -> Iterator[Record | Unreadable]:
    """Yields the rows of a CSV file in UTF-8, with a comma, semicolon or tabulator between the cells."""
    file.seek(0)
    text = TextIOWrapper(file, encoding="utf-8-sig", newline="")
    lines = _Lines(text)
    try:
        yield from _csv_rows(lines, file)
    except UnicodeDecodeError as error:
        yield Unreadable("encoding_in_text", lines.number + 1, None, size, params={"byte": error.start + 1})
    except csv.Error as error:
        yield Unreadable("csv_broken", lines.number, None, size, params={"detail": str(error)})
    finally:
        # Of an import that is called off the file is closed before this ends.
        if not file.closed:
            text.detach()


class _Lines:
    """The lines of a text for csv, never longer than a record may be."""

    def __init__(self, text: TextIOWrapper) -> None:
        self.text = text
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self.text.readline(MAX_RECORD_BYTES)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == MAX_RECORD_BYTES and not line.endswith("\n"):
            raise csv.Error(f"line longer than {MAX_RECORD_BYTES // 1024**2} MB")
        return line


def _csv_rows(lines: _Lines, file: IO[bytes]) -> Iterator[Record | Unreadable]:
    first = next(lines, "")
    delimiter = max(",;\t", key=first.count)
    header = _header(next(csv.reader([first], delimiter=delimiter), []))
    if isinstance(header, Unreadable):
        yield header
        return
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    line = lines.number + 1
    for cells in reader:
        if any(cell.strip() for cell in cells):
            end = file.tell()
            if len(cells) > len(header):
                params = {"cells": len(cells), "columns": len(header)}
                yield Unreadable("too_many_cells", line, None, end, delimiter.join(cells)[:500], params)
            else:
                value = {key: _typed(key, cell) for key, cell in zip(header, cells, strict=False) if key}
                shown = delimiter.join(cell[:200] for cell in cells)
                yield Record(value, shown, line, None, end, _formula_hint(cells))
        line = lines.number + 1


def _header(cells: Sequence[Any]) -> list[str] | Unreadable:
    """The keys of the columns from the first row; "" for a column without a name."""
    names = [str(cell if cell is not None else "").strip() for cell in cells]
    shown = ", ".join(names[:100])[:200]
    if len(names) > MAX_COLUMNS:
        return Unreadable("too_many_columns", 1, None, 0, shown, {"count": len(names), "limit": MAX_COLUMNS})
    keys = [HEADINGS.get(name, name.lower()) for name in names]
    if not any(keys):
        return Unreadable("no_header", 1, None, 0, shown)
    counts = Counter(key for key in keys if key)
    if twice := next((key for key, count in counts.items() if count > 1), None):
        return Unreadable("duplicate_key", 1, None, 0, shown, {"key": twice[:40]})
    return keys


def _typed(key: str, cell: str) -> Any:
    """A cell of CSV: all are texts, except where the formats want something else."""
    if key == "weight" and cell.strip() in ("0", "1"):
        return int(cell)
    if key in ("label", "kto_tag") and cell.strip().lower() in ("true", "false"):
        return cell.strip().lower() == "true"
    return None if key in ("system", "weight", "input") and not cell.strip() else cell


def _formula_hint(cells: Sequence[Any]) -> str:
    runs = any(isinstance(cell, str) and cell[:1] in "=+-@" and _FORMULA.match(cell) for cell in cells)
    return "formula_like" if runs else ""


# --- .xlsx ---------------------------------------------------------------------------------------------------


def xlsx_records(file: IO[bytes], size: int) -> Iterator[Record | Unreadable]:
    """Yields the rows of the first worksheet. Formulas are refused: what they come to is for the spreadsheet to say."""
    if problem := _sheet_too_large(file, size):
        yield problem
        return
    import openpyxl

    file.seek(0)
    book = None
    try:
        book = openpyxl.load_workbook(file, read_only=True, keep_links=False)
        sheet = book.worksheets[0]
        # What a sheet says about its size need not be true, and a wrong one makes rows of 16,384 empty cells.
        sheet.reset_dimensions()
        yield from _sheet_rows(sheet.iter_rows(), size)
        if len(book.worksheets) > 1:
            params = {"used": sheet.title, "count": len(book.worksheets) - 1}
            yield Unreadable("other_sheets", 1, None, size, params=params)
    except Exception as error:
        # openpyxl raises whatever the XML made it stumble over.
        yield Unreadable(
            "xlsx_broken", 1, None, size, params={"detail": str(error)[:100] or type(error).__name__}
        )
    finally:
        if book is not None:
            book.close()


def _sheet_too_large(file: IO[bytes], size: int) -> Unreadable | None:
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
    except DAMAGE as error:
        return Unreadable("xlsx_broken", 1, None, size, params={"detail": str(error)[:100]})
    if unpacked > MAX_SHEET_BYTES or unpacked > max(1024**2, MAX_SHEET_RATIO * size):
        return Unreadable("xlsx_too_large", 1, None, size, params={"limit": MAX_SHEET_BYTES // 1024**2})
    return None


def _sheet_rows(rows: Iterator[Sequence[Any]], size: int) -> Iterator[Record | Unreadable]:
    header = _header([cell.value for cell in next(rows, ())])
    if isinstance(header, Unreadable):
        yield header
        return
    for number, row in enumerate(rows, 2):
        filled = [cell for cell in row if cell.value is not None]
        if not filled:
            continue
        shown = ", ".join(str(cell.value)[:200] for cell in filled)
        # How far in the file a row stands is unknown; sheets of that size are read in seconds.
        if any(cell.data_type == "f" for cell in filled):
            yield Unreadable("formula", number, None, 0, shown)
        elif len(row) > len(header) and any(cell.value is not None for cell in row[len(header) :]):
            params = {"cells": len(row), "columns": len(header)}
            yield Unreadable("too_many_cells", number, None, 0, shown, params)
        else:
            pairs = zip(header, row, strict=False)
            value = {key: _plain(cell.value, key) for key, cell in pairs if key and cell.value is not None}
            yield Record(value, shown, number, None, 0, _formula_hint([cell.value for cell in filled]))


def _plain(value: Any, key: str) -> Any:
    """A cell of a sheet as the text that it shows, except where the formats want something else."""
    if isinstance(value, bool):
        return value if key in ("label", "kto_tag") else str(value).upper()
    if isinstance(value, int | float):
        if key == "weight" and value in (0, 1):
            return int(value)
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    if isinstance(value, dt.datetime | dt.date | dt.time):
        return value.isoformat(" ") if isinstance(value, dt.datetime) else value.isoformat()
    return str(value)


# --- .parquet ------------------------------------------------------------------------------------------------


def parquet_records(file: IO[bytes], size: int) -> Iterator[Record | Unreadable]:
    """Yields the rows of a Parquet file; lists and structs in it are lists and objects."""
    from pyarrow import parquet

    file.seek(0)
    number = 0
    try:
        columns = row_groups(file)
        metadata = parquet.read_metadata(file)
        keys = _header(metadata.schema.to_arrow_schema().names)
        if isinstance(keys, Unreadable):
            yield keys
            return
        groups = [[chunk_of(file, column) for column in group] for group in columns]
        chunks = [chunk for group in groups for chunk in group]
        if _unpacks_too_far(sum(chunk.unpacked for chunk in chunks), size):
            yield Unreadable("parquet_bomb", 1, None, size, params={"ratio": MAX_RATIO})
            return
        if any(_memory_of(group) > MAX_PAGES_BYTES for group in groups):
            yield Unreadable("parquet_pages", 1, None, size, params={"limit": MAX_PAGES_BYTES // 1024**2})
            return
        repeated = sorted({chunk.path_in_schema for chunk in chunks if _repeats(chunk)})
        table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1024**2, read_dictionary=repeated)
        limit = _row_limit(chunks)
        unpacked = 0
        for batch in table.iter_batches(batch_size=PARQUET_BATCH, use_threads=False):
            for part, weight in _parts(batch):
                unpacked += weight
                end = min(size, size * number // max(1, metadata.num_rows))
                if _unpacks_too_far(unpacked, size):
                    yield Unreadable("parquet_bomb", number + 1, None, size, params={"ratio": MAX_RATIO})
                    return
                if part.num_rows == 1 and weight > limit:
                    number += 1
                    yield Unreadable("too_long", number, None, end, params={"limit": limit // 1024**2})
                    continue
                columns = [column.to_pylist() for column in part.columns]
                for cells in zip(*columns, strict=True):
                    number += 1
                    value = {key: cell for key, cell in zip(keys, cells, strict=True) if cell is not None}
                    end = min(size, size * number // max(1, metadata.num_rows))
                    if kind := _not_json(value):
                        yield Unreadable(kind[0], number, None, end, params=kind[1])
                    else:
                        yield Record(value, "", number, None, end)
    except Exception as error:
        # pyarrow raises what its types bring along: dates beyond year 9999, texts that are none, schemas too deep.
        detail = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        yield Unreadable("parquet_broken", number + 1, None, size, params={"detail": detail})


def _memory_of(group: list[Chunk]) -> int:
    """The bytes that the pages of a row group can take together: of each column one, and its dictionary."""
    return sum(chunk.largest + chunk.dictionary for chunk in group)


def _unpacks_too_far(unpacked: int, packed: int) -> bool:
    return unpacked > RATIO_FROM_BYTES and unpacked > MAX_RATIO * max(1, packed)


def _repeats(chunk: Chunk) -> bool:
    """True for texts that the file holds once and its rows many times, so that they take no more in memory either.

    Reading all texts so would take five times as long. Writers keep the dictionaries of a column below 1 MB; texts
    compress to a tenth at most.
    """
    if not chunk.dictionary or chunk.physical_type not in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"):
        return False
    return (
        chunk.unpacked > 20 * max(1, chunk.packed)
        or chunk.unpacked < 4 * chunk.num_values
        or chunk.dictionary > 2 * 1024**2
    )


def _row_limit(chunks: Sequence[Chunk]) -> int:
    """How many bytes one row may have: as many as a record, or a picture where columns hold bytes."""
    names = [chunk.path_in_schema.lower() for chunk in chunks if chunk.physical_type == "BYTE_ARRAY"]
    holds_bytes = any(name.endswith("bytes") or "image" in name for name in names)
    return pictures.MAX_BYTES if holds_bytes else MAX_RECORD_BYTES


def _parts(batch: Any) -> Iterator[tuple[Any, int]]:
    """Divides a batch until its rows are few enough to become objects; each part with its bytes."""
    weight = sum(_weight(column) for column in batch.columns)
    if batch.num_rows <= 1 or weight <= PARQUET_SLICE_BYTES:
        yield batch, weight
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


def _weight(array: Any) -> int:
    """The bytes that the values of an array have, repeated ones as often as they come."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_dictionary(kind):
        if not (pa.types.is_string(kind.value_type) or pa.types.is_binary(kind.value_type)):
            return int(array.dictionary.nbytes) + 8 * len(array)
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        return (pc.sum(lengths).as_py() or 0) + 8 * len(array)
    if pa.types.is_struct(kind):
        return sum(_weight(part) for part in array.flatten())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _weight(array.flatten()) + 8 * len(array)
    return int(array.nbytes) + 8 * len(array)


def _not_json(value: Any) -> tuple[str, dict[str, Any]] | None:
    """What in a value no JSON could hold; bytes are let through for pictures."""
    if isinstance(value, dict):
        return next((found for item in value.values() if (found := _not_json(item))), None)
    if isinstance(value, list):
        return next((found for item in value if (found := _not_json(item))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return "not_finite", {"value": str(value)}
    return None


# --- .txt ----------------------------------------------------------------------------------------------------


def text_records(file: IO[bytes], size: int) -> Iterator[Record | Unreadable]:
    """Yields every line that is not blank as {"text": line}."""
    file.seek(0)
    number = end = 0
    while raw := file.readline(MAX_RECORD_BYTES + 1):
        number += 1
        end += len(raw)
        if len(raw) > MAX_RECORD_BYTES:
            while not raw.endswith(b"\n") and (raw := file.readline(MAX_RECORD_BYTES)):
                end += len(raw)
            yield Unreadable("too_long", number, None, end, params={"limit": MAX_RECORD_BYTES // 1024**2})
            continue
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            shown = raw[max(0, error.start - 40) : error.start + 80].decode(errors="replace")
            yield Unreadable("encoding", number, None, end, shown, {"byte": error.start + 1})
            continue
        if text:
            yield Record({"text": text}, text, number, None, end)
