"""Files of every shape, also hostile ones: right records, line numbers, and a named problem instead of a crash."""

import io
import json

import pytest

from datasets import reading
from datasets.problems import KINDS, message
from datasets.reading import Record, Unreadable, records

GOOD = '{"prompt": "p", "response": "r"}'


def read(data: str | bytes, name: str = "a.jsonl") -> list[Record | Unreadable]:
    return list(records(io.BytesIO(data.encode() if isinstance(data, str) else data), name))


def places(items: list[Record | Unreadable]) -> list[tuple[str, int, int | None]]:
    return [("ok" if isinstance(item, Record) else item.kind, item.line, item.row) for item in items]


def test_lines_are_numbered_over_blank_ones_and_the_mark_at_the_start_is_dropped() -> None:
    items = read("\ufeff" + GOOD + "\r\n\n   \n" + GOOD)
    assert places(items) == [("ok", 1, None), ("ok", 4, None)]


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_an_array_over_several_lines_has_rows_and_lines(name: str) -> None:
    assert places(read(f"[\n {GOOD},\n\n {GOOD}\n]\n", name)) == [("ok", 2, 1), ("ok", 4, 2)]


def test_an_array_with_an_element_a_line_is_an_array() -> None:
    assert places(read(f"[{GOOD},\n{GOOD},\n{GOOD}]", "a.json")) == [("ok", 1, 1), ("ok", 2, 2), ("ok", 3, 3)]


def test_the_name_decides_whether_a_lone_list_of_turns_is_one_conversation() -> None:
    lone = f"[{GOOD}, {GOOD}]"
    assert places(read(lone, "a.jsonl")) == [("ok", 1, None)]
    assert places(read(lone, "a.json")) == [("ok", 1, 1), ("ok", 1, 2)]
    assert places(read('[{"instruction": "i"}, {"instruction": "i"}]', "a.jsonl")) == [
        ("ok", 1, 1),
        ("ok", 1, 2),
    ]


@pytest.mark.parametrize(
    "start", ['{"data": [', '{"version": "1.0",\n "count": 2, "rows":\n[', ' {"train":[']
)
@pytest.mark.parametrize("end", ["]}", '],\n"info": {"a": [1, 2]}, "n": 3}\n'])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_a_list_in_an_object_is_read_like_a_list(start: str, end: str, name: str) -> None:
    line = start.count("\n") + 1
    items = read(f"{start}{GOOD},\n{GOOD}{end}", name)
    assert places(items) == [("ok", line, 1), ("ok", line + 1, 2)]


@pytest.mark.parametrize(("end", "kind"), [
    ("", "array_broken"), ("]", "array_broken"), ("]} x", "array_broken"), ('], "a"}', "array_broken"),
    ('], "test": [{}]}', "second_list"), ('], "a": NaN}', "not_finite"), ('], "a": {"b": 1, "b": 2}}', "duplicate_key"),
])  # fmt: skip
def test_what_is_wrong_around_such_a_list_is_told(end: str, kind: str) -> None:
    assert [place[0] for place in places(read('{"data": [' + GOOD + end, "a.json"))] == ["ok", kind]


def test_lines_that_look_like_such_an_object_stay_lines() -> None:
    line = '{"data": [{"a": 1}]}'
    assert places(read(f"{line}\n{line}\n")) == [("ok", 1, None), ("ok", 2, None)]


def test_json_lines_called_json_are_read_by_line() -> None:
    assert places(read(f"[{GOOD}]\n[{GOOD}, {GOOD}]\n", "a.json")) == [("ok", 1, None), ("ok", 2, None)]


def test_objects_over_several_lines_one_after_another() -> None:
    pretty = json.dumps(json.loads(GOOD), indent=2)
    assert places(read(f"{pretty}\n{pretty}", "a.json")) == [("ok", 1, None), ("ok", 5, None)]


def test_a_broken_first_line_does_not_hide_the_others() -> None:
    items = read('{"prompt": "p",\n' + GOOD + "\n" + GOOD)
    assert places(items) == [("invalid_json", 1, None), ("ok", 2, None), ("ok", 3, None)]


def test_records_across_chunks_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK_BYTES", 7)
    rows = [{"prompt": "问" * n, "response": "\n答" * n} for n in range(1, 30)]
    items = read(json.dumps(rows, ensure_ascii=False, indent=1), "a.json")
    assert [item.value for item in items] == rows


DEEP = "[" * 100_000
HOSTILE = {
    "nothing": (b"", []),
    "only blanks": (b"\n \n\t\n", []),
    "only a mark": (b"\xef\xbb\xbf", []),
    "not utf-8": (GOOD.encode() + b'\n{"prompt": "\xc4\xe3\xba\xc3"}\n', [("ok", 1, None), ("encoding", 2, None)]),
    "utf-16": (GOOD.encode("utf-16"), [("not_text_file", 1, None)]),
    "zip": (b"PK\x03\x04\x14\x00\x00\x00", [("not_text_file", 1, None)]),
    "raw NUL": (b" " * 5000 + b'"a\0"\n', [("invalid_json", 1, None)]),
    "NaN": ('{"a": NaN}\n' + GOOD, [("not_finite", 1, None), ("ok", 2, None)]),
    "duplicate key": ('{"a": {"b": 1, "b": 2}}\n' + GOOD, [("duplicate_key", 1, None), ("ok", 2, None)]),
    "deep line": (GOOD + "\n" + DEEP + "\n" + GOOD, [("ok", 1, None), ("too_deep", 2, None), ("ok", 3, None)]),
    "deep objects": ('{"a":' * 100_000 + "\n" + GOOD, [("too_deep", 1, None), ("ok", 2, None)]),
    "deep array": ("[\n" + DEEP, [("too_deep", 2, 1), ("rest_unread", 2, 1)]),
    "huge number": ("1" * 5000 + "\n" + GOOD, [("number_too_long", 1, None), ("ok", 2, None)]),
    "array with NaN": (f'[\n{{"a": NaN}},\n{GOOD}]', [("not_finite", 2, 1), ("ok", 3, 2)]),
    "array with duplicate": (f'[\n{{"a":1,"a":2}},\n{GOOD}]', [("duplicate_key", 2, 1), ("ok", 3, 2)]),
    "array cut off": (f"[\n{GOOD},\n" + GOOD[:9], [("ok", 2, 1), ("array_broken", 3, 2)]),
    "array without end": (f"[\n{GOOD}\n", [("ok", 2, 1), ("array_broken", 3, 1)]),
    "array without comma": (f"[\n{GOOD}\n\n{GOOD}]", [("ok", 2, 1), ("array_broken", 4, 1)]),
    "text after array": (f"[\n{GOOD}\n]\nx", [("ok", 2, 1), ("array_broken", 4, 1)]),
    "array not utf-8": (f"[\n{GOOD},\n".encode() + b'"\xc4\xe3"]', [("ok", 2, 1), ("encoding_in_text", 3, 2)]),
    "half a character at the end": (f"[\n{GOOD},\n".encode() + b"\xe4\xbd", [("ok", 2, 1), ("encoding_in_text", 3, 2)]),
    "scalars": ('1\n"x"\nnull\n', [("ok", 1, None), ("ok", 2, None), ("ok", 3, None)]),
}  # fmt: skip


@pytest.mark.parametrize("data,expected", HOSTILE.values(), ids=HOSTILE)
def test_hostile_input_ends_in_named_problems(data: str | bytes, expected: list) -> None:
    items = read(data)
    assert places(items) == expected
    for item in items:
        if isinstance(item, Unreadable):
            assert str(KINDS[item.kind].message) % item.params


def test_a_line_over_the_limit_is_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 100)
    items = read(GOOD + "\n" + '"' + "x" * 5000 + '"\n' + GOOD)
    assert places(items) == [("ok", 1, None), ("too_long", 2, None), ("ok", 3, None)]


def test_a_record_over_the_limit_ends_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_RECORD_BYTES", 1000)
    monkeypatch.setattr(reading, "CHUNK_BYTES", 64)
    items = read("[\n" + GOOD + ',\n"' + "x" * 5000 + '"]')
    assert places(items) == [("ok", 2, 1), ("too_long", 3, 2), ("rest_unread", 3, 2)]


def test_the_column_of_an_error_in_an_array_counts_from_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "CHUNK_BYTES", 16)
    broken = read(f"[\n {GOOD}, oops]")[-1]
    assert broken.params == {"line": 2, "column": len(f" {GOOD}, ") + 1, "detail": "Expecting value"}


def test_a_problem_is_told_in_the_readers_language() -> None:
    stored = {"kind": "wrong_type", "params": {"expected": "string", "found": "array"}}
    assert message(stored) == "Expected a text, found a list."
