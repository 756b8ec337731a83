"""Export: every format reads its own export back into the same rows, and what it cannot hold is refused."""

import csv
import json
from io import StringIO

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.urls import reverse

from datasets import exporting
from datasets.formats import FORMATS
from datasets.models import Dataset, DatasetVersion, RowType
from tests.datasets.making import picture
from tests.datasets.storing import stored, talk

SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "你好\n<tool_response>\n3\n</tool_response>"},
    {"role": "assistant", "content": ' "Hi", said he;\r\n=1+1 ', "weight": 0},
    {"role": "user", "content": "@SUM(1)"},
    {"role": "assistant", "content": "-5"},
]
ASKED = [{"role": "user", "content": "q, q"}]
MANY_ASKED = [*SAID[:2], {"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}]
TALKS = [{"messages": SAID}, {"messages": SAID[:1] + SAID[3:]}, {"messages": SAID[3:]}]
ROWS = {
    RowType.MESSAGES: TALKS,
    RowType.TEXT: [{"text": " a\nb "}, {"text": "=1"}],
    RowType.PREFERENCE: [
        {"messages": asked, "chosen": "+c", "rejected": "r"} for asked in (ASKED, SAID[:1] + ASKED, MANY_ASKED)
    ],
    RowType.BINARY_PREFERENCE: [
        {"messages": asked, "completion": "c", "label": label}
        for asked, label in ((ASKED, True), (SAID[:1] + ASKED, False), (MANY_ASKED, True))
    ],
    RowType.RANKED: [
        {"messages": asked, "responses": [{"content": "a", "score": 2.5}, {"content": "b", "score": 1}]}
        for asked in (ASKED, MANY_ASKED)
    ],
    RowType.IMAGE_CAPTION: [{"image": "images/0123456789abcdef.png", "prompt": "a boat"}],
    RowType.IMAGE_MESSAGES: [
        {"image": "images/0123456789abcdef.png", "messages": [{"role": "user", "content": "<image>\nq"}, SAID[4]]}
    ],
}  # fmt: skip


def has_weight(row: dict) -> bool:
    return any(message.get("weight") == 0 for message in row.get("messages", ()))


@pytest.mark.parametrize("key", FORMATS)
def test_a_format_reads_what_it_writes(key: str) -> None:
    format_ = FORMATS[key]
    rows = [row for row in ROWS[format_.row_type] if not (has_weight(row) and "weights" in format_.lacks)]
    assert rows
    for row in rows:
        written = json.loads(json.dumps(format_.record(row)))
        assert format_.recognises(written)
        assert format_.row(written) == row


# --- Files ---------------------------------------------------------------------------------------------------

EVERY = [
    (format_.key, kind)
    for format_ in FORMATS.values()
    for kind in (
        ("zip",)
        if format_.row_type in exporting.PICTURE_TYPES
        else ("jsonl", *(("csv",) if format_.cells else ()), *(("parquet",) if format_.columns else ()))
    )
]
PLAIN = {
    RowType.MESSAGES: [talk('你好, "x"\r\n;', "a\nb"), talk("b")],
    RowType.TEXT: [{"text": "a, b"}, {"text": "c"}],
    RowType.PREFERENCE: [{"messages": ASKED, "chosen": "c", "rejected": "r"}],
    RowType.BINARY_PREFERENCE: [
        {"messages": ASKED, "completion": "c", "label": True},
        {"messages": ASKED, "completion": "d", "label": False},
    ],
}


def version_of(workspace, rows: list[dict], row_type: str) -> DatasetVersion:
    dataset = Dataset.objects.create(workspace=workspace, name="对话 1", row_type=row_type)
    return stored(dataset, rows)


def rows_for(key: str, kind: str) -> list[dict]:
    format_ = FORMATS[key]
    if kind == "csv":
        return PLAIN[format_.row_type]
    return [row for row in ROWS[format_.row_type] if not (has_weight(row) and "weights" in format_.lacks)]


@pytest.mark.parametrize(("key", "kind"), EVERY)
def test_an_export_imported_again_has_the_same_hash(workspace, imported, key: str, kind: str) -> None:
    rows = rows_for(key, kind)
    if kind == "zip":
        import hashlib

        data = picture()
        name = f"{hashlib.sha256(data).hexdigest()[:16]}.png"
        rows = [row | {"image": f"images/{name}"} for row in rows]
    version = version_of(workspace, rows, FORMATS[key].row_type)
    if kind == "zip":
        default_storage.save(f"datasets/{version.uid}/images/{name}", ContentFile(data))
    chosen = exporting.choose(version, f"{key}.{kind}")
    assert exporting.loss(version, chosen) is None
    file = b"".join(exporting.written(version, chosen))
    again = imported({f"a__{kind}": file}, "" if kind == "jsonl" else key)
    assert (again.content_hash, again.row_count) == (version.content_hash, version.row_count), again.problems


def test_csv_disarms_formulas_and_nothing_else(workspace) -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "a=1", "'", " =1"]
    version = version_of(workspace, [{"text": text} for text in texts], RowType.TEXT)
    file = b"".join(exporting.written(version, exporting.choose(version, "text.csv"))).decode("utf-8-sig")
    cells = [row["text"] for row in csv.DictReader(StringIO(file, newline=""))]
    assert cells == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "a=1", "'", " =1"]


@pytest.mark.parametrize(("key", "lost"), [
    ("messages.jsonl", 0), ("alpaca.jsonl", 1), ("prompt_response.csv", 1), ("alpaca.csv", 1),
])  # fmt: skip
def test_what_would_be_lost_is_counted(workspace, key: str, lost: int) -> None:
    version = version_of(workspace, TALKS, RowType.MESSAGES)
    loss = exporting.loss(version, exporting.choose(version, key))
    assert (loss.count if loss else 0) == lost


def get(client, version: DatasetVersion, query: str):
    return client.get(reverse("datasets:export_file", args=[version.uid]) + query)


def test_rows_that_do_not_fit_are_refused_with_a_way_out(client_of, bob, workspace) -> None:
    version = version_of(workspace, TALKS, RowType.MESSAGES)
    answer = get(client_of(bob), version, "?as=alpaca.jsonl")
    assert answer.status_code == 422
    assert "weight 0" in answer.text
    assert "row 1" in answer.text
    file = get(client_of(bob), version, "?as=alpaca.jsonl&leave_out=1").getvalue()
    assert len(file.splitlines()) == 2


def test_a_chinese_name_reaches_the_browser(client_of, bob, workspace) -> None:
    version = version_of(workspace, TALKS, RowType.MESSAGES)
    header = get(client_of(bob), version, "?as=messages.jsonl")["Content-Disposition"]
    assert header == "attachment; filename*=utf-8''%E5%AF%B9%E8%AF%9D%201-V1-messages.jsonl"


def test_the_page_offers_what_can_hold_the_rows(client_of, bob, workspace) -> None:
    version = version_of(workspace, [{"text": "a"}], RowType.TEXT)
    page = client_of(bob).get(reverse("datasets:export", args=[version.uid]))
    assert [export.key for export in page.context["exports"]] == ["text.jsonl", "text.csv", "text.parquet"]
    assert get(client_of(bob), version, "?as=messages.jsonl").status_code == 422


@pytest.mark.parametrize("name", ["export", "export_file"])
def test_strangers_and_posts(client_of, alice, charlie, workspace, name: str) -> None:
    address = reverse(f"datasets:{name}", args=[version_of(workspace, TALKS, RowType.MESSAGES).uid])
    assert client_of(charlie).get(address).status_code == 404
    assert client_of(alice).post(address).status_code == 405


def test_lost_rows_are_told(client_of, bob, workspace) -> None:
    version = version_of(workspace, TALKS, RowType.MESSAGES)
    default_storage.delete(version.rows_path)
    assert get(client_of(bob), version, "?as=messages.jsonl").status_code == 404
