"""events.jsonl and spec.json: what two processes agree on."""

from __future__ import annotations

import pytest

from jobs.training.events import EventWriter, read_events
from jobs.training.spec import Base, Data, Setting, Spec, SpecError, read_spec, write_spec


def test_reader_goes_on_where_it_stopped_and_leaves_half_a_line(tmp_path):
    path = tmp_path / "events.jsonl"
    assert read_events(path) == ([], 0)
    writer = EventWriter(path, attempt=1)
    writer.write("phase", name="training")
    first, offset = read_events(path)
    with path.open("ab") as file:
        file.write(b'{"type":"metr')
    assert [event["name"] for event in first] == ["training"]
    assert read_events(path, offset) == ([], offset)


def test_writer_cuts_the_half_line_that_a_killed_process_left(tmp_path):
    path = tmp_path / "events.jsonl"
    EventWriter(path, attempt=1).write("phase", name="a" * 100)
    with path.open("ab") as file:
        file.write(b'{"type":"metr')
    EventWriter(path, attempt=2).write("phase", name="b")
    events, _ = read_events(path)
    assert [(event["attempt"], event["name"][:1]) for event in events] == [(1, "a"), (2, "b")]
    assert events[0]["time"].endswith("Z") and len(events[0]["time"]) == len("2026-01-01T00:00:00.000Z")


def test_line_separators_inside_texts_do_not_split_events(tmp_path):
    path = tmp_path / "events.jsonl"
    EventWriter(path, attempt=1).write("warning", message="one\u2028two\u0085three\x0bfour")
    assert len(read_events(path)[0]) == 1


def spec(**changes) -> Spec:
    fields = {
        "schema": 1,
        "run": "task-1",
        "attempt": 1,
        "trainer": "text",
        "method": "LoRA",
        "base": Base("Tiny", "/tmp/tiny"),
        "data": Data("data/train.jsonl"),
        "hyperparameters": {
            "learningRate": Setting(1e-4, "user"),
            "loraTargetModules": Setting(["self_attn.q_proj"], "offer"),
        },
    }
    return Spec(**{**fields, **changes})


def test_spec_survives_writing_and_reading(tmp_path):
    write_spec(tmp_path / "spec.json", spec())
    assert read_spec(tmp_path) == spec()
    assert [path.name for path in tmp_path.iterdir()] == ["spec.json"]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"method": "DoRA"}, "the method 'DoRA'"),
        ({"threads": 0}, "0 threads"),
        ({"hyperparameters": {"epoch": Setting(0, "user")}}, "epoch must be at least 1"),
    ],
)
def test_spec_that_cannot_run_says_why(tmp_path, changes, part):
    write_spec(tmp_path / "spec.json", spec(**changes))
    with pytest.raises(SpecError, match=part):
        read_spec(tmp_path)
