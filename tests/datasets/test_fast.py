"""The short way gives the very rows of the long one, or leaves the line to it."""

import json
from io import BytesIO

import msgspec
import pytest

from datasets.fast import DECODERS, ready
from datasets.formats import FORMATS
from datasets.formats.base import RowError, texts, turns
from datasets.reading import Record, records


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
