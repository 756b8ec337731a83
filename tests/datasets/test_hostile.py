"""A hundred inputs that are damaged, mistaken or out to do harm: each ends in a named problem, none in a crash."""

import datetime as dt
import gzip
import io
import json
import random
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from django.core.files.storage import default_storage

from datasets import archives, browsing, sources, tables
from datasets.models import VersionState
from datasets.problems import message
from tests.datasets.making import parquet_of, picture, tar_of, xlsx_of, zip_of

ROW = '{"prompt": "p", "response": "r"}'
LINE = f"{ROW}\n"
CSV = "prompt,response\np,r\n"


def symlink(name: str = "link.jsonl") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def special(kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo("thing.jsonl")
    info.type, info.linkname = kind, "a.jsonl"
    return info


def zip_link() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        info = zipfile.ZipInfo("link.jsonl")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


def zip_with(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("a.jsonl", LINE)
    return file.getvalue()


def patched(data: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """The bytes after every signature replaced."""
    changed, at = bytearray(data), data.find(signature)
    while at >= 0:
        changed[at + offset : at + offset + len(value)] = value
        at = data.find(signature, at + 1)
    return bytes(changed)


def zip_declaring(size: int) -> bytes:
    """A zip of one row whose directory says that it is larger."""
    return patched(zip_of({"a.jsonl": LINE}), b"PK\x01\x02", 24, struct.pack("<I", size))


def zip64_declaring(size: int) -> bytes:
    """A zip of one row that says in its extra field how large it is."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        with archive.open("a.jsonl", "w", force_zip64=True) as member:
            member.write(LINE.encode())
        archive.filelist[0].file_size = size
    return file.getvalue()


def png_declaring(width: int, height: int) -> bytes:
    """A PNG that says it is larger than it is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def tar_declaring(size: int) -> bytes:
    info = tarfile.TarInfo("a.jsonl")
    info.size = size
    return gzip.compress(info.tobuf() + LINE.encode())


def tar_with_long_header() -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 32 * 1024**2
    return gzip.compress(info.tobuf() + b"\0" * info.size)


def zip_twice() -> bytes:
    with pytest.warns(UserWarning):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.jsonl", LINE)
            archive.writestr("a.jsonl", LINE)
        return file.getvalue()


def bomb() -> bytes:
    return zip_of({"a.jsonl": b" " * (archives.RATIO_FROM_BYTES + 1)})


def tar_bomb() -> bytes:
    return tar_of({"a.jsonl": b" " * (archives.RATIO_FROM_BYTES + 1024**2)})


def gz_bomb() -> bytes:
    return gzip.compress(b" " * (archives.RATIO_FROM_BYTES + 1024**2))


def entities() -> bytes:
    """A worksheet that makes ten characters into a billion."""
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    bomb_ = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{levels}]>'
    return changed_xlsx(
        lambda xml: xml.replace(b"<worksheet", bomb_.encode() + b"<worksheet", 1).replace(b"prompt", b"&l9;")
    )


def changed_xlsx(change: Callable[[bytes], bytes]) -> bytes:
    """A spreadsheet with texts in its cells, its worksheet's XML changed."""
    result = io.BytesIO()
    source = zipfile.ZipFile(io.BytesIO(xlsx_of([["prompt", "response"], ["p", "r"]])))
    with source, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, change(data) if name.startswith("xl/worksheets/") else data)
    return result.getvalue()


def noise(size: int = 3000) -> bytes:
    return random.Random(1).randbytes(size)


# name of the case: (name of the file, content, problems that only this content causes)
CASES: dict[str, tuple[str, bytes | Callable[[], bytes], str]] = {
    # Archives.
    "zip slip": ("a.zip", zip_of({"../../a.jsonl": LINE}), "archive_unsafe_name"),
    "zip slip with backslashes": ("a.zip", zip_of({"..\\..\\a.jsonl": LINE}), "archive_unsafe_name"),
    "absolute path in zip": ("a.zip", zip_of({"/etc/cron.d/a.jsonl": LINE}), "archive_unsafe_name"),
    "drive in zip": ("a.zip", zip_of({"C:\\a.jsonl": LINE}), "archive_unsafe_name"),
    "tar slip": ("a.tar.gz", tar_of({"../a.jsonl": LINE}), "archive_unsafe_name"),
    "absolute path in tar": ("a.tar.gz", tar_of({"/etc/a.jsonl": LINE}), "archive_unsafe_name"),
    "symlink in tar": ("a.tar.gz", tar_of({"a.jsonl": LINE}, symlink()), "archive_link"),
    "hard link in tar": ("a.tar.gz", tar_of({"a.jsonl": LINE}, special(tarfile.LNKTYPE)), "archive_link"),
    "device in tar": ("a.tar.gz", tar_of({"a.jsonl": LINE}, special(tarfile.CHRTYPE)), "archive_link"),
    "pipe in tar": ("a.tgz", tar_of({"a.jsonl": LINE}, special(tarfile.FIFOTYPE)), "archive_link"),
    "symlink in zip": ("a.zip", zip_link, "archive_link"),
    "zip bomb": ("a.zip", bomb, "archive_bomb"),
    "tar bomb": ("a.tar.gz", tar_bomb, "archive_bomb"),
    "gz bomb": ("a.jsonl.gz", gz_bomb, "archive_bomb"),
    "gz that is cut": ("a.jsonl.gz", gzip.compress(LINE.encode() * 9999)[:-9], "archive_broken"),
    "gz in gz": ("a.jsonl.gz.gz", gzip.compress(gzip.compress(LINE.encode())), "archive_nested"),
    "4 GB declared in a zip": ("a.zip", lambda: zip_declaring(0xFFFFFFFE), "archive_bomb"),
    "10 GB declared in a tar": ("a.tar.gz", lambda: tar_declaring(10 * 1024**3), "archive_broken"),
    "a little more declared in a zip": ("a.zip", lambda: zip_declaring(99), "archive_broken"),
    "32 MB header in a tar": ("a.tar.gz", tar_with_long_header, "archive_broken"),
    "more files than allowed": ("a.zip", zip_of({f"{n}.jsonl": LINE for n in range(60)}), "archive_too_many"),
    "huge zip directory declared": (
        "a.zip", lambda: patched(zip_of({"a.jsonl": LINE}), b"PK\x05\x06", 12, b"\0\0\0\x80"), "archive_too_many",
    ),
    "truncated zip": ("a.zip", zip_of({"a.jsonl": LINE})[:-30], "archive_broken"),
    "truncated gz": ("a.tar.gz", tar_of({"a.jsonl": LINE, "b.jsonl": noise()})[:-900], "archive_broken"),
    "gz with a wrong checksum": ("a.tar.gz", tar_of({"a.jsonl": LINE})[:-8] + b"\0" * 8, "archive_broken"),
    "zip with a wrong checksum": (
        "a.zip", lambda: patched(zip_of({"a.jsonl": LINE}), b"PK\x01\x02", 16, b"\1\2\3\4"), "archive_broken",
    ),
    "noise called zip": ("a.zip", noise(), "archive_broken"),
    "noise called tar.gz": ("a.tar.gz", noise(), "archive_broken"),
    "gz that is no tar": ("a.tar.gz", gzip.compress(LINE.encode() * 99), "archive_broken"),
    "encrypted zip": (
        "a.zip", lambda: patched(zip_of({"a.jsonl": LINE}), b"PK\x01\x02", 8, b"\x01\x00"), "archive_encrypted",
    ),
    "zip packed with lzma": ("a.zip", lambda: zip_with(zipfile.ZIP_LZMA), "archive_method"),
    "zip packed with bzip2": ("a.zip", lambda: zip_with(zipfile.ZIP_BZIP2), "archive_method"),
    "archive in an archive": ("a.zip", zip_of({"b.zip": zip_of({"a.jsonl": LINE})}), "archive_nested"),
    "a name twice in a zip": ("a.zip", zip_twice, "archive_same_name"),
    "empty zip": ("a.zip", zip_of({}), "no_rows"),
    "mixed formats in a zip": (
        "a.zip", zip_of({"a.jsonl": LINE, "b.jsonl": '{"instruction": "i", "output": "o"}'}), "other_format",
    ),
    "zip called tar.gz": ("a.tar.gz", zip_of({"a.jsonl": LINE}), "wrong_extension"),
    # Names and encodings.
    "zip called jsonl": ("a.jsonl", zip_of({"a.jsonl": LINE}), "wrong_extension"),
    "xlsx called csv": ("a.csv", lambda: xlsx_of([["prompt", "response"], ["p", "r"]]), "wrong_extension"),
    "parquet called json": ("a.json", lambda: parquet_of({"prompt": ["p"], "response": ["r"]}), "wrong_extension"),
    "picture called jsonl": ("a.jsonl", picture(), "wrong_extension"),
    "old Excel called xlsx": ("a.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + noise(), "wrong_extension"),
    "PDF called txt": ("a.txt", b"%PDF-1.7\n" + noise(), "wrong_extension"),
    "GB18030": ("a.jsonl", '{"prompt": "你好，介绍一下长城", "response": "好"}'.encode("gb18030"), "other_encoding"),
    "GB18030 in CSV": ("a.csv", "prompt,response\n你好吗,我很好\n".encode("gb18030"), "other_encoding"),
    "UTF-16": ("a.txt", "你好，世界".encode("utf-16"), "other_encoding"),
    "Latin-1": ("a.csv", "prompt,response\ncaf\xe9,\xe0 la carte\n".encode("latin-1"), "encoding_in_text"),
    "broken bytes in JSON lines": ("a.jsonl", LINE.encode() + b'{"prompt": "\xff"}\n', "encoding"),
    "broken bytes in text": ("a.txt", b"good\nbad \xff\xfe\x80\n", "encoding"),
    # JSON.
    "NUL character": ("a.jsonl", br'{"prompt": "a\u0000b", "response": "r"}', "nul_character"),
    "raw NUL": ("a.jsonl", b'{"prompt": "a\0b", "response": "r"}', "not_text_file"),
    "lone surrogate": ("a.jsonl", rb'{"prompt": "\ud83d", "response": "r"}', "surrogate"),
    "10,000 lists deep": ("a.jsonl", LINE.encode() + b"[" * 10_000 + b"]" * 10_000, "too_deep"),
    "10,000 objects deep": ("a.jsonl", LINE.encode() + b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "too_deep"),
    "duplicate key": ("a.jsonl", b'{"prompt": "p", "prompt": "q", "response": "r"}', "duplicate_key"),
    "NaN": ("a.jsonl", LINE.encode() + b'{"prompt": NaN, "response": "r"}', "not_finite"),
    "Infinity": ("a.json", b"[" + ROW.encode() + b', {"a": -Infinity}]', "not_finite"),
    "a number of 5,000 digits": ("a.jsonl", LINE.encode() + b"9" * 5000, "number_too_long"),
    "cut off": ("a.json", b"[" + ROW.encode() + b', {"prompt": "p', "array_broken"),
    "scalars": ("a.jsonl", b'1\n"x"\nnull\n', "unknown_format"),
    "empty texts": ("a.jsonl", b'{"prompt": " ", "response": ""}', "empty"),
    # Tables.
    "CSV without names": ("a.csv", b"\n\n", "no_header"),
    "CSV with a name twice": ("a.csv", b"prompt,response,Prompt\na,b,c\n", "duplicate_key"),
    "CSV with other names": ("a.csv", b"a,b\n1,2\n", "unknown_format"),
    "CSV row with too many cells": ("a.csv", CSV.encode() + b"a,b,c,d\n", "too_many_cells"),
    "CSV with an open quotation mark": ("a.csv", CSV.encode() + b'"a,b\n' + b"x,y\n" * 50, "csv_broken"),
    "CSV with an endless line": ("a.csv", lambda: CSV.encode() + b"x" * (tables.MAX_RECORD_BYTES + 1), "csv_broken"),
    "CSV injection": ("a.csv", b'prompt,response\n"=HYPERLINK(""http://x"")",r\n', "formula_like"),
    "CSV with NUL": ("a.csv", CSV.encode() + b"a\0b,c\n", "nul_character"),
    "formulas": ("a.xlsx", lambda: xlsx_of([["prompt", "response"], ["=1+1", "r"]]), "formula"),
    "XLSX cut off": ("a.xlsx", lambda: xlsx_of([["prompt", "response"], ["p", "r"]])[:-100], "xlsx_broken"),
    "zip called xlsx": ("a.xlsx", zip_of({"a.jsonl": LINE}), "xlsx_broken"),
    "XLSX bomb": (
        "a.xlsx", lambda: changed_xlsx(lambda xml: xml + b" " * (2 * tables.MAX_SHEET_RATIO * 7000)), "xlsx_too_large",
    ),
    "XML entities in XLSX": ("a.xlsx", entities, "xlsx_broken"),
    "XLSX of 17 billion cells declared": (
        "a.xlsx", lambda: changed_xlsx(lambda xml: xml.replace(b'ref="A1:B2"', b'ref="A1:XFD1048576"')), "",
    ),
    "noise called parquet": ("a.parquet", b"PAR1" + noise() + b"PAR1", "parquet_broken"),
    "parquet cut off": ("a.parquet", lambda: parquet_of({"prompt": ["p"], "response": ["r"]})[:-20], "parquet_broken"),
    "NaN in parquet": ("a.parquet", lambda: parquet_of({"prompt": [float("nan")], "response": ["r"]}), "not_finite"),
    "binary data in parquet": (
        "a.parquet", lambda: parquet_of({"prompt": [b"\xff"], "response": ["r"]}), "wrong_type",
    ),
    "dates in parquet": (
        "a.parquet", lambda: parquet_of({"prompt": [dt.date(2020, 1, 1)], "response": ["r"]}), "wrong_type",
    ),
    "lists in lists in parquet": (
        "a.parquet", lambda: parquet_of({"prompt": [[[["p"]]]], "response": ["r"]}), "wrong_type",
    ),
    "no rows in parquet": ("a.parquet", lambda: parquet_of({"prompt": [], "response": []}), "no_rows"),
    "a name twice in parquet": (
        "a.parquet", lambda: parquet_of({"prompt": ["p"], "Prompt": ["q"], "response": ["r"]}), "duplicate_key",
    ),
    "row of 9 MB in parquet": (
        "a.parquet", lambda: parquet_of({"prompt": ["p" * 9 * 1024**2], "response": ["r"]}), "too_long",
    ),
    "CSV of 5,000 columns": (
        "a.csv", ",".join(f"c{n}" for n in range(5000)).encode() + b"\n1,2\n", "too_many_columns",
    ),
    "archive behind an archive": (
        "a.tar.gz", tar_of({"a.jsonl": LINE}) + tar_of({"b.jsonl": LINE}), "archive_broken",
    ),
    "password in a zip": (
        "a.zip", lambda: patched(zip_of({"a.jsonl": LINE}), b"PK\x01\x02", 8, b"\x01\x08"), "archive_encrypted",
    ),
    "10 GB declared in a zip64": ("a.zip", lambda: zip64_declaring(10 * 1024**3), "archive_bomb"),
    "BOM before GB18030": (
        "a.jsonl", b"\xef\xbb\xbf" + '{"prompt": "你好，介绍一下长城", "response": "好"}'.encode("gb18030"),
        "other_encoding",
    ),
    "UTF-16 JSON lines": ("a.jsonl", LINE.encode("utf-16"), "other_encoding"),
    "UTF-16 without a mark": ("a.jsonl", LINE.encode("utf-16-le"), "not_text_file"),
    "several pictures in a row": (
        "a.jsonl", b'{"images": ["a.png", "b.png"], "messages": [{"role": "user", "content": "x"}]}',
        "several_pictures",
    ),
    "picture outside of the archive": (
        "a.zip", zip_of({"a.jsonl": '{"image": "../../../etc/passwd", "text": "t"}'}), "picture_missing",
    ),
    "picture on a server": ("a.jsonl", b'{"image": "http://169.254.169.254/x", "text": "t"}', "picture_address"),
    "script called PNG": (
        "a.zip", zip_of({"a.jsonl": '{"image": "a.png", "text": "t"}', "a.png": "<svg onload=alert(1)>"}),
        "picture_unknown",
    ),
    "picture of 3,600 megapixels": (
        "a.zip", zip_of({"a.jsonl": '{"image": "a.png", "text": "t"}', "a.png": png_declaring(60_000, 60_000)}),
        "picture_too_many_pixels",
    ),
    "numbers in parquet": ("a.parquet", lambda: parquet_of({"prompt": [1], "response": [2]}), "wrong_type"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "kind"), CASES.values(), ids=CASES)
def test_it_ends_in_a_named_problem(
    imported, monkeypatch, name: str, content: bytes | Callable, kind: str
) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
    version = imported({name: content() if callable(content) else content})
    assert set(version.problem_kinds) == ({kind} if kind else set())
    for problem in version.problems:
        assert problem["file"].startswith(name)
        assert "%(" not in message(problem)
    # Rows are only there where good ones stand beside the bad ones.
    assert version.state in (VersionState.DRAFT, VersionState.FAILED)
    assert (version.row_count > 0) == bool(version.rows_path)
    if name.endswith(("zip", "gz")) and kind not in ("archive_nested", "other_format"):
        assert version.row_count == 0
    # Nothing was written anywhere else.
    assert set(default_storage.listdir("")[0]) == {"datasets"}


def test_an_archive_of_nothing_useful_is_no_dataset(imported) -> None:
    version = imported({"a.zip": zip_of({"README.md": "x", "run.exe": "MZ"})})
    assert version.problem_kinds == {"ignored_file": 2, "no_rows": 1}
    assert version.state == VersionState.FAILED


def test_a_name_in_gbk_is_read(imported) -> None:
    """Bytes that are no UTF-8 once stopped the import when its rows were written."""
    data = tar_of({"a": LINE})
    raw = gzip.decompress(data)
    header = bytearray(raw[:512])
    header[:100] = "数据.jsonl".encode("gbk").ljust(100, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    version = imported({"a.tar.gz": gzip.compress(bytes(header) + raw[512:])})
    assert (version.row_count, version.problem_kinds) == (1, {})
    assert browsing.files_of(version) == ["a.tar.gz/数据.jsonl"]


def test_archives_together_have_a_limit(imported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_UNPACKED_BYTES", 3000)
    small, large = zip_of({"a.jsonl": LINE * 20}), tar_of({"b.jsonl": noise(4000)})
    version = imported({"a.zip": small, "b.tar.gz": large})
    assert version.problem_kinds == {"archive_too_large": 1, "duplicate": 19}


def test_lines_of_1_mb_are_no_problem(imported) -> None:
    row = {"prompt": "p" * 1024**2, "response": "r" * 1024**2}
    assert imported({"a.jsonl": json.dumps(row).encode() * 1}).state == VersionState.DRAFT


def test_texts_that_repeat_are_not_unpacked_without_end(imported) -> None:
    """A dictionary makes 20 GB of a file of 100 kB."""
    file = io.BytesIO()
    texts = pa.array(["p" * 1024**2]).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), texts.dictionary)
    parquet.write_table(pa.table({"prompt": column, "response": ["r"] * 20_000}), file)
    version = imported({"a.parquet": file.getvalue()})
    assert version.problem_kinds["parquet_bomb"] == 1
    assert version.row_count < 200


def test_a_zip_of_too_many_files_is_refused_before_anything_is_unpacked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBERS", 50)
    file, budget = io.BytesIO(zip_of({f"{n}.jsonl": LINE for n in range(60)})), archives.Budget(10**9, 10**9)
    with pytest.raises(archives.Refused):
        list(archives.unpack(file, "a.zip", tmp_path, budget, lambda done: None))
    assert not list(tmp_path.iterdir())
