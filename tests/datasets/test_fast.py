"""The short way gives the very rows of the long one, or leaves the line to it."""

import json
import random
from io import BytesIO
from typing import Any

import msgspec
import pytest

from datasets import blocks, outlines, reading, results
from datasets.blocks import LAYOUTS, ready_block
from datasets.fast import DECODERS, ready
from datasets.formats import FORMATS
from datasets.formats.base import RowError, texts, turns
from datasets.hints import differ
from datasets.imports import run_import
from datasets.models import VersionState
from datasets.problems import every
from datasets.reading import Record, records
from datasets.rows import iter_rows


def slow(key: str, raw: bytes) -> bytes | None:
    """The canonical line by the rules; None for a line with anything wrong."""
    (item,) = records(BytesIO(raw), "a.jsonl")
    if not isinstance(item, Record):
        return None
    try:
        return msgspec.json.encode(FORMATS[key].row(item.value))
    except (RowError, UnicodeEncodeError):
        return None


def said(*roles: str, **more: object) -> dict:
    return {"messages": [{"role": role, "content": f"{role} 说"} for role in roles], **more}


GOOD = [
    ("prompt_response", [{"prompt": "你好\n", "response": "\\\"r\"", "system": "s"}, {"prompt": "p", "response": "r"}]),
    ("prompt_response", [{"prompt": "p", "response": "r", "weight": 0}, {"prompt": "p", "response": "r", "weight": 1}]),
    ("prompt_response", [{"prompt": "p", "response": "r", "system": "", "weight": None}]),
    ("messages", said("system", "user", "assistant", "user", "assistant")),
    ("messages", {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a", "weight": 1}]}),
    ("alpaca", {"instruction": "i", "input": "n", "output": "o", "system": "s"}),
    ("alpaca", {"instruction": "i", "input": " ", "output": "o"}),
    ("sharegpt", {"conversations": [
        {"from": "system", "value": "s"}, {"from": "human", "value": "h"}, {"from": "gpt", "value": "g"},
    ]}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "record"), GOOD)
@pytest.mark.parametrize("ascii_", [True, False])
def test_good_lines_are_the_same_rows(key: str, record: object, ascii_: bool) -> None:
    raw = json.dumps(record, ensure_ascii=ascii_).encode() + b"\r\n"
    row = ready(DECODERS[key], raw, 3, 9)
    assert row.json == slow(key, raw)
    canonical = msgspec.json.decode(row.json)
    assert (row.turns, row.characters) == (turns(canonical), sum(map(len, texts(canonical))))
    assert (row.line, row.end, row.text) == (3, 9, raw.decode())


DOUBTFUL = [
    ("prompt_response", b'[{"prompt": "p", "prompt": "q", "response": "r"}]'),
    ("prompt_response", b'[{"prompt": "p", "response": "r", "weight": 0, "weight": 1}]'),
    ("prompt_response", b'[{"prompt": "p", "response": "r", "system": "a", "system": "b"}]'),
    ("prompt_response", rb'[{"prompt": "p", "\u0070rompt": "q", "response": "r"}]'),
    ("prompt_response", b'[{"prompt": "p", "response": "r"}, {"prompt": "p", "response": "r", "system": "s"}]'),
    ("prompt_response", rb'[{"prompt": "\ud83d", "response": "r"}]'),
    ("prompt_response", rb'[{"prompt": "a\u0000", "response": "r"}]'),
    ("prompt_response", b'[{"prompt": "p", "response": "r", "weight": 0}]'),
    ("prompt_response", b'[{"prompt": "p", "response": " \\n"}]'),
    ("prompt_response", b'[{"prompt": "p", "response": "r", "a": NaN}]'),
    ("prompt_response", b'[{"prompt": "p", "response": "r", "chosen": "c"}]'),
    ("prompt_response", b'[{"prompt": "p", "response": "r"}] x'),
    ("prompt_response", b"[]"),
    ("prompt_response", b"[" * 10_000),
    ("prompt_response", b'[{"prompt": "\xff", "response": "r"}]'),
    ("prompt_response", json.dumps([{"prompt": "p", "response": "r"}] * 151).encode()),
    ("messages", json.dumps(said("user", "assistant", label=True)).encode()),
    ("messages", json.dumps(said("user", "assistant", "user")).encode()),
    ("messages", json.dumps(said("user", "user", "assistant")).encode()),
    ("messages", json.dumps(said("user", "system", "assistant")).encode()),
    ("messages", json.dumps(said("assistant", "user")).encode()),
    ("messages", json.dumps(said("system")).encode()),
    ("messages", b'{"messages": [], ' + json.dumps(said("user", "assistant"))[1:].encode()),
    ("messages", json.dumps(said("user", "assistant")).replace('"role"', '"role": "system", "role"', 1).encode()),
    ("alpaca", b'{"instruction": "i", "instruction": "j", "output": "o"}'),
    ("alpaca", b'{"instruction": "", "input": "", "output": "o"}'),
    ("sharegpt", b'{"conversations": [{"from": "human", "value": "h"}]}'),
    ("sharegpt", b'{"conversations": [{"from": "gpt", "value": "h"}, {"from": "human", "value": "h"}]}'),
]  # fmt: skip


@pytest.mark.parametrize(("key", "raw"), DOUBTFUL)
def test_doubtful_lines_are_left_to_the_rules(key: str, raw: bytes) -> None:
    assert ready(DECODERS[key], raw, 1, 1) is None


def canonical(key: str, raw: bytes) -> list[bytes | None]:
    return [slow(key, line) for line in raw.splitlines(keepends=True)]


@pytest.mark.parametrize("key", LAYOUTS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_block_of_good_lines_is_the_same_rows(key: str, end: bytes) -> None:
    lines = [
        json.dumps(record, ensure_ascii=bool(n % 2)).encode()
        for n, (k, record) in enumerate(GOOD * 9)
        if k == key
    ]
    raw = end.join(lines)
    block = ready_block(key, raw, 5, 99)
    singles = [ready(DECODERS[key], line, 1, 1) for line in lines]
    assert list(block.lines) == canonical(key, raw)
    assert block.turns.tolist() == [one.turns for one in singles]
    assert block.characters.tolist() == [one.characters for one in singles]
    assert (block.ready(2).line, block.ready(2).raw.rstrip()) == (7, lines[2])


ODD_TEXTS = [
    "\\",
    "a\\",
    '\\"',
    '\\\\"\\',
    '"',
    '":',
    " x",
    "　「",
    "\n\t\\n",
    "\u2028 é\x7f",
    "中\\文",
    "\b\f",
    "😀" * 30,
]


@pytest.mark.parametrize("key", LAYOUTS)
@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_texts_are_counted_as_they_are(key: str, text: str) -> None:
    """Backslashes, quotation marks and white space in texts do not lead astray what looks at bytes alone."""
    records = [json.dumps(record, ensure_ascii=False) for found, record in GOOD if found == key]
    keys = ("prompt", "content", "instruction", "value", "response", "output")
    raw = "\n".join(records).encode()
    for name in keys:
        for old in ("p", "u", "i", "h", "r", "user 说"):
            raw = raw.replace(
                f'"{name}": "{old}"'.encode(), f'"{name}": {json.dumps(text, ensure_ascii=False)}'.encode()
            )
    block = ready_block(key, raw, 1, 1)
    singles = [ready(DECODERS[key], line, 1, 1) for line in raw.split(b"\n")]
    assert json.dumps(text, ensure_ascii=False).encode() in raw
    assert list(block.lines) == canonical(key, raw) == [one.json for one in singles]
    assert block.characters.tolist() == [one.characters for one in singles]


@pytest.mark.parametrize("value", [
    b"5", b"null", b"true", b"[]", b'{"a": "b"}', b'["a", "b"]', b'""', b'"\xff"', b'"\xed\xa0\x80"', b'" \\n"',
    b'"\xe3\x80\x80"', b'"\\u0020"', b'"\\ud83d"', b'"\xc2\xa0\xe2\x80\xa8"', b'"\\u0000"', b'"a\tb"',
])  # fmt: skip
@pytest.mark.parametrize(("key", "record"), [
    ("prompt_response", b'[{"prompt": %s, "response": "r"}]'),
    ("prompt_response", b'[{"prompt": "p", "response": %s}]'),
    ("messages", b'{"messages": [{"role": "user", "content": %s}, {"role": "assistant", "content": "a"}]}'),
    ("sharegpt", b'{"conversations": [{"from": "human", "value": "h"}, {"from": "gpt", "value": %s}]}'),
    ("alpaca", b'{"instruction": "i", "output": %s}'),
])  # fmt: skip
def test_what_is_no_text_makes_no_block(key: str, record: bytes, value: bytes) -> None:
    assert ready_block(key, record % b'"good"' + b"\n" + record % value, 1, 1) is None


@pytest.mark.parametrize(("key", "raw"), DOUBTFUL)
def test_a_block_with_a_doubtful_line_is_left_to_the_rules(key: str, raw: bytes) -> None:
    good = [json.dumps(record).encode() for found, record in GOOD if found == key]
    assert ready_block(key, b"\n".join([*good, raw, *good]), 1, 1) is None


@pytest.mark.parametrize("raw", [
    b'{"instruction": "i",\n"output": "o"}\n',
    b'{"instruction": "i", "output": "o"} {"instruction": "i", "output": "o"}\n\n',
    b'{"instruction": "i", "instruction" : "j", "output": "o"}\n',
    b'{"instruction": "i", "\\u0069nstruction": "j", "output": "o"}\n',
])  # fmt: skip
def test_lines_that_are_no_rows_of_their_own_are_no_block(raw: bytes) -> None:
    assert ready_block("alpaca", 3 * raw, 1, 1) is None


@pytest.mark.parametrize(("question", "reply"), [
    ("请把下面的这句话翻译成英语，要求通顺自然。", "Please be so kind and answer in one sentence."),
    ("请" * 30, "好" * 30),
    ("请" * 30, "<tool>" + "call" * 9),
    ("请" * 999 + "a" * 500, "a" * 30),
    ("a" * 1001 + "请" * 2000, "请" * 21),
    ("é" * 30, "请" * 30),
])  # fmt: skip
def test_a_block_tells_mixed_languages_as_single_lines_do(question: str, reply: str) -> None:
    pair = said("user", "assistant")
    row = {
        "messages": [
            *pair["messages"],
            {"role": "user", "content": question},
            {"role": "assistant", "content": reply},
        ]
    }
    raw = b"".join(json.dumps(one).encode() + b"\n" for one in (pair, row, pair))
    assert ready_block("messages", raw, 1, 1).mixes_languages.tolist() == [
        False,
        differ(question, reply),
        False,
    ]


def found_in(version) -> tuple:
    """Imports a version; all that the import has found."""
    assert run_import(version.pk)
    version.refresh_from_db()
    problems = sorted((problem["line"], problem["kind"], problem["field"]) for problem in every(version))
    figures = version.turn_count, version.character_count, version.problem_kinds, version.statistics
    return list(iter_rows(version)), problems, figures, version.content_hash


def test_an_import_in_blocks_finds_what_one_by_lines_finds(monkeypatch, waiting) -> None:
    """Good, doubtful and broken lines in turn: rows, problems, figures and hash are the same."""
    key = "prompt_response"
    good = [json.dumps(record, ensure_ascii=False).encode() for found, record in GOOD if found == key]
    mails = [b'[{"prompt": "mail %d to a@example.com 13812345678", "response": "r"}]' % n for n in range(40)]
    doubtful = [raw for found, raw in DOUBTFUL if found == key] * 3
    raw = b"\n".join(
        [*good, *(m for n, d in enumerate(doubtful) for m in (*mails[n:], d, *good)), *mails, *mails]
    )
    monkeypatch.setattr(reading, "BLOCK_BYTES", 4096)
    monkeypatch.setattr(reading, "PIECE_BYTES", 256)
    made = []
    monkeypatch.setattr(reading, "ready_block", lambda *given: made.append(ready_block(*given)) or made[-1])
    version = waiting(a__jsonl=raw)
    first = found_in(version)
    in_blocks = sum(len(block.lines) for block in made if block)
    assert in_blocks > version.row_count / 2 and None in made
    monkeypatch.setattr(results, "LAYOUTS", {})
    version.state, version.import_heartbeat_at = VersionState.IMPORTING, None
    version.save()
    made.clear()
    assert found_in(version) == first and not made


PIECES = (b'"', b"\\", b"\\\\", b'\\"', b"\\u0041", b"\\/", b"\n", b"\t", b"\x00", b"\xff", b"\xed\xa0\x80", b"\x80",
          b":", b",", b"{", b"]", b"NaN", b'"role":', b'"content": "x",', b'"prompt": "p",', b'""')  # fmt: skip


def long(value: Any) -> Any:
    """A record with texts that are long enough to be hit."""
    if isinstance(value, dict):
        return {key: item if key in ("role", "from") else long(item) for key, item in value.items()}
    if isinstance(value, list):
        return [long(item) for item in value]
    return value + "\\ 你\n" * 20 if isinstance(value, str) and value.strip() else value


def damaged(raw: bytes, chance: random.Random) -> bytes:
    """The lines with a few bytes put in, left out or doubled."""
    at, further = chance.randrange(len(raw)), chance.randrange(len(raw))
    left = chance.choice((0, 0, 1, 2, 5))
    piece = chance.choice((*PIECES, b"", raw[further : further + 20]))
    return raw[:at] + piece + raw[at + left :]


@pytest.mark.parametrize("key", LAYOUTS)
def test_a_block_of_damaged_lines_is_what_the_rules_make_of_it_or_none(key: str) -> None:
    chance = random.Random(key)
    records = [long(record) for found, record in GOOD if found == key]
    shapes = [(", ", ": "), (",", ":"), (", ", " : ")]
    given = 0
    for _ in range(250):
        separators = chance.choice(shapes)
        lines = [
            json.dumps(record, ensure_ascii=False, separators=separators).encode() for record in 2 * records
        ]
        raw = damaged(b"\n".join(lines) + b"\n", chance)
        if block := ready_block(key, raw, 1, 1):
            given += 1
            assert list(block.lines) == canonical(key, raw)
            rows = [msgspec.json.decode(line) for line in block.lines]
            assert block.turns.tolist() == [turns(row) for row in rows]
            assert block.characters.tolist() == [sum(map(len, texts(row))) for row in rows]
    assert 25 < given < 225


def test_texts_in_another_order_are_copied_to_their_places() -> None:
    """Files name the system text where they like; canonical lines begin with it."""
    raw = '[{"response": "r\\n", "prompt": "你", "system": "\\"s"}]\n[{"prompt": "p", "response": "q"}]\n'.encode()
    block = ready_block("prompt_response", raw, 1, 1)
    assert list(block.lines) == canonical("prompt_response", raw)
    assert block.characters.tolist() == [5, 2]


def test_lines_of_many_outlines_are_decoded(monkeypatch) -> None:
    raw = b"".join(b'{"instruction":%s"i","output":"o"}\n' % (b" " * n) for n in range(5))
    decoded = []
    monkeypatch.setattr(outlines, "MAX_OUTLINES", 3)
    anew = blocks._written_anew
    monkeypatch.setattr(blocks, "_written_anew", lambda *given: decoded.append(1) or anew(*given))
    assert list(ready_block("alpaca", raw, 1, 1).lines) == canonical("alpaca", raw) and decoded
