"""Tables and plain texts become the same rows as JSON lines; other encodings are explained and converted on request."""

import gzip

import pytest
from django.urls import reverse

from datasets.encodings import recognised
from datasets.imports import run_import
from datasets.models import VersionState
from datasets.rows import page_of_rows
from tests.datasets.making import parquet_of, picture, tar_of, xlsx_of, zip_of

PAIRS = [["问题", "Response"], ["你好", 'Hi, "you"'], [3.0, True]]
CSV = '\ufeff问题,Response\r\n你好,"Hi, ""you"""\r\n,\r\n3,TRUE\r\n'


def with_delimiter(delimiter: str) -> bytes:
    """The same table with another character between the cells."""
    lines = [line.replace(",", delimiter, 1) for line in CSV.split("\r\n")]
    return "\r\n".join(lines).encode()


def messages(version, number: int = 0) -> list[str]:
    return [message["content"] for message in page_of_rows(version, number, 1)[0]["messages"]]


JSON_LINES = '{"prompt": "你好", "response": "Hi, \\"you\\""}\n{"prompt": "3", "response": "TRUE"}'


@pytest.mark.parametrize(("name", "content"), [
    ("a.csv", CSV.encode()),
    ("a.tsv", with_delimiter("\t")),
    ("a.csv", with_delimiter(";")),
    ("a.xlsx", lambda: xlsx_of(PAIRS)),
    ("a.parquet", lambda: parquet_of({"prompt": ["你好", "3"], "response": ["Hi, \"you\"", "TRUE"]})),
    ("a.zip", lambda: zip_of({"data/a.csv": CSV})),
    ("a.tar.gz", lambda: tar_of({"data/a.csv": CSV})),
    ("a.txt", JSON_LINES.encode()),
])  # fmt: skip
def test_tables_of_every_kind(imported, name: str, content) -> None:
    version = imported({name: content() if callable(content) else content})
    assert (version.state, version.format, version.row_count) == ("draft", "prompt_response", 2)
    assert [messages(version, number) for number in (0, 1)] == [["你好", 'Hi, "you"'], ["3", "TRUE"]]


def test_columns_of_alpaca_may_be_empty_where_they_are_optional(imported) -> None:
    version = imported({"a.csv": b"Instruction,Input,Output,System\nadd,,3,\nadd,1 2,3,be kind\n"})
    assert (version.state, version.format) == ("draft", "alpaca")
    assert [messages(version, 0), messages(version, 1)] == [["add", "3"], ["be kind", "add\n1 2", "3"]]


def test_lines_of_a_table_are_named(imported) -> None:
    version = imported(
        {
            "a.csv": b'prompt,response\n"a\nb",r\n\n,c\n',
            "b.xlsx": xlsx_of([["prompt", "response"], ["p", "r"], ["q"]]),
        }
    )
    places = [(problem["file"], problem["line"], problem["kind"]) for problem in version.problems]
    assert places == [("a.csv", 5, "empty"), ("b.xlsx", 3, "missing")]


def test_other_worksheets_are_told(imported) -> None:
    version = imported({"a.xlsx": xlsx_of([["prompt", "response"], ["p", "r"]], [["more"]])})
    assert (version.state, version.problem_kinds) == ("draft", {"other_sheets": 1})


def test_parquet_with_lists_and_pictures(imported) -> None:
    talk = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
    assert imported({"a.parquet": parquet_of({"messages": talk})}).format == "messages"


def test_parquet_with_the_bytes_of_pictures(imported) -> None:
    version = imported(
        {"a.parquet": parquet_of({"image": [{"bytes": picture(), "path": None}], "text": ["red"]})}
    )
    assert (version.state, version.format) == ("draft", "image_caption")


def test_every_line_of_a_text_is_a_row(imported) -> None:
    version = imported({"a.txt": "\ufeff春眠不觉晓\n\n  处处闻啼鸟  \r\n".encode()})
    assert (version.format, version.row_count, version.character_count, version.turn_count) == (
        "text",
        2,
        10,
        0,
    )
    assert page_of_rows(version, 1, 1) == [{"text": "处处闻啼鸟"}]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "utf-32"])
def test_another_encoding_is_converted_on_request(imported, client_of, alice, encoding: str) -> None:
    text = CSV.removeprefix("\ufeff")
    # One file of the archive is UTF-8 already and stays so.
    files = {"a.csv": text.encode(encoding), "b.csv": CSV.replace("你", "您")}
    version = imported({"a.zip": zip_of(files)})
    assert (version.state, version.problem_kinds.get("other_encoding")) == ("failed", 1)
    client = client_of(alice)
    address = reverse("datasets:convert", args=[version.uid])
    assert address in client.get(reverse("datasets:version", args=[version.uid])).text
    client.post(address)
    assert run_import(version.pk)
    version.refresh_from_db()
    assert (version.state, version.row_count) == (VersionState.DRAFT, 4)
    assert (messages(version, 0)[0], messages(version, 2)[0]) == ("你好", "您好")


@pytest.mark.parametrize(("text", "encoding"), [
    ("请把下面的这句话翻译成英语，要求通顺自然。", "gb18030"),
    ("請把下面的這句話翻譯成英語，要求通順自然。", "big5"),
    ("다음 문장을 영어로 자연스럽게 번역해 주세요.", "cp949"),
    ("Où est la bibliothèque ?", ""),
    ("你", "gb18030"),
])  # fmt: skip
def test_an_encoding_is_told_by_its_common_letters(text: str, encoding: str) -> None:
    raw = text.encode(encoding or "latin-1")
    assert recognised(raw) == encoding
    assert recognised(raw[:-1]) == encoding or len(text) < 2
    assert recognised(text.encode()) == ""


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz"])
def test_a_single_file_may_come_in_gz(imported, name: str) -> None:
    content = CSV if "csv" in name else '{"prompt": "你好", "response": "r"}\n'
    version = imported({name: gzip.compress(content.encode())})
    assert (version.state, messages(version, 0)[0]) == (VersionState.DRAFT, "你好")


def test_a_zip_of_windows_has_chinese_names(imported) -> None:
    data = zip_of({"placeholder": '{"file_name": "猫.png", "text": "t"}'})
    # As Windows writes it: GBK without the flag for UTF-8.
    name = "说明.jsonl".encode("gbk").ljust(11, b"l")
    version = imported({"a.zip": data.replace(b"placeholder", name)})
    assert version.problems[0]["file"].startswith("a.zip/说明.jsonl")
