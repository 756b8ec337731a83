"""How much memory a Parquet file takes is told by its pages, whatever its end says."""

from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets import tables
from datasets.parquet_pages import BrokenPage, chunk_of, row_groups
from datasets.reading import Unreadable


def written(columns: dict[str, list[object]], **how: object) -> BytesIO:
    file = BytesIO()
    pq.write_table(pa.table(columns), file, **how)  # type: ignore[arg-type]
    return file


@pytest.mark.parametrize("page_version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_the_pages_make_up_what_an_honest_end_says(page_version: str, compression: str) -> None:
    columns = {"a": [f"text {n % 9}" * 9 for n in range(5000)], "b": [[n, n + 1] for n in range(5000)]}
    file = written(
        columns,
        compression=compression,
        data_page_version=page_version,
        data_page_size=2000,
        write_page_checksum=True,
    )
    group = pq.read_metadata(file).row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        [given] = [columns[number] for columns in row_groups(file)]
        assert [getattr(column, name) or 0 for name in given._fields] == list(given)
        chunk = chunk_of(file, given)
        headers = column.total_compressed_size - chunk.packed
        assert 0 < headers < 20_000
        assert chunk.unpacked == column.total_uncompressed_size - headers
        assert 0 < chunk.largest < chunk.unpacked
        assert (chunk.dictionary > 0) == column.has_dictionary_page


def lying(size: bytes) -> bytes:
    """A file whose only page of a column says that it unpacks to another size; its end says the truth."""
    content = written({"prompt": ["p" * 40] * 40}, use_dictionary=False, compression="zstd").getvalue()
    column = pq.read_metadata(BytesIO(content)).row_group(0).column(0)
    at = column.data_page_offset
    # Field 1 is the kind of the page, 0 for data; field 2, of two bytes here, its size in memory.
    assert content[at : at + 3] == b"\x15\x00\x15" and content[at + 3] > 127 > content[at + 4]
    return content[: at + 3] + size + content[at + 5 :]


def test_a_page_of_two_gb_is_refused_before_it_is_unpacked(imported) -> None:
    # 2**31 - 1, as Thrift writes it.
    version = imported({"a.parquet": lying(b"\xfe\xff\xff\xff\x0f")})
    assert version.problem_kinds == {"parquet_bomb": 1}


def test_pages_of_many_columns_are_counted_together(imported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_PAGES_BYTES", 5000)
    columns = {name: [f"{name} {n}" * 5 for n in range(99)] for name in ("prompt", "response")}
    version = imported({"a.parquet": written(columns, use_dictionary=False).getvalue()})
    assert version.problem_kinds == {"parquet_pages": 1}


@pytest.mark.parametrize("size", [b"\xff\xff", b"\x01\x15", b"\x1c\x1c"])
def test_headers_that_are_none_are_no_crash(size: bytes) -> None:
    file = BytesIO(lying(size))
    column = row_groups(file)[0][0]
    with pytest.raises(BrokenPage):
        chunk_of(file, column)


def test_an_end_that_contradicts_itself_is_no_crash() -> None:
    """pyarrow's own reading of what such an end says of a column ends the process."""
    content = bytearray(written({"prompt": [["p"]], "response": [["r"]]}, write_statistics=True).getvalue())
    ends = 0
    for at in range(len(content) - 8 - int.from_bytes(content[-8:-4], "little"), len(content) - 8):
        changed = bytes(content[:at]) + b"\x19" + bytes(content[at + 1 :])
        ends += any(
            isinstance(one, Unreadable) for one in tables.parquet_records(BytesIO(changed), len(changed))
        )
    assert ends > 100


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (b"\x00", "no end"),
        (b"\x49\xfc\xff\xff\x7f" + b"\0" * 99, "too long"),
        (b"\x29\xfc\x90\x4e", "cut off"),
    ],
)
def test_ends_that_would_take_memory_are_refused(end: bytes, words: str) -> None:
    """A list of a million row groups or elements, of one byte each."""
    size = len(end) if words != "no end" else 99
    file = BytesIO(b"PAR1" + end + size.to_bytes(4, "little") + b"PAR1")
    with pytest.raises(BrokenPage, match=words):
        row_groups(file)
