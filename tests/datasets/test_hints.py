"""Warnings are counted by kind and block nothing."""

import pytest

from datasets.hints import mixes_languages, personal_data, script
from datasets.models import VersionState


@pytest.mark.parametrize(("text", "expected"), [
    ("电话13812345678。", ["phone_number"]),
    ("12813812345678", []),
    ("138123456789", []),
    ("23812345678", []),
    ("身份证11010519491231002X", ["identity_number"]),
    ("身份证110105194912310021", []),
    ("Write to ann.lee+x@mail.example.com now", ["email_address"]),
    ("@user and a@b", []),
    ("meet @home.now", []),
])  # fmt: skip
def test_personal_data_are_recognised(text: str, expected: list[str]) -> None:
    assert list(personal_data(text.encode())) == expected


HAN, LATIN = "请把下面的这句话翻译成英语，要求通顺自然。", "Please be so kind and answer in one sentence."


@pytest.mark.parametrize(("question", "reply", "mixed"), [
    (HAN, LATIN, True), (LATIN, HAN, True), (HAN, HAN, False), (LATIN, LATIN, False), (HAN, "OK", False),
    (HAN, HAN[:12] + LATIN[:18], False),
])  # fmt: skip
def test_a_reply_in_another_script_is_told(question: str, reply: str, mixed: bool) -> None:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    assert mixes_languages(messages) is mixed


def test_accents_are_latin() -> None:
    assert script("Où est la bibliothèque, s'il vous plaît ?") == "latin"


def test_warnings_block_nothing_and_leave_room_for_errors(imported) -> None:
    row = b'{"prompt": "mail a@example.com", "response": "r"}\n'
    version = imported({"a.jsonl": row * 2000})
    assert (version.state, version.row_count) == (VersionState.DRAFT, 2000)
    assert version.problem_kinds == {"email_address": 2000, "duplicate": 1999}
    assert len(version.problems) == 200
