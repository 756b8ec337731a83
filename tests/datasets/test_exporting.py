"""Export: every format reads its own export back into the same rows, and what it cannot hold is refused."""

import json

import pytest

from datasets.formats import FORMATS
from datasets.models import RowType

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
