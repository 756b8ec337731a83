"""Whatever goes wrong ends as one event with a stable code and one sentence that names the place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests import forks
from tests.training.runs import ROWS, Run, conversation, train_by_command

pytestmark = pytest.mark.training


def edit_spec(run: Run, change: Callable[[dict], object]) -> Run:
    spec = json.loads((run.path / "spec.json").read_text())
    change(spec)
    (run.path / "spec.json").write_text(json.dumps(spec))
    return run


def with_base(run: Run, models: Path, change: Callable[[Path], object]) -> Run:
    """The run on a copy of the tiny Llama that `change` has spoilt."""
    base = run.path / "base"
    shutil.copytree(models / "llama", base)
    change(base)
    return edit_spec(run, lambda spec: spec["base"].update(path=str(base)))


def retensor(base: Path, change: Callable[[dict], object]) -> None:
    tensors = load_file(base / "model.safetensors")
    change(tensors)
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def pickled(base: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")


def configure(base: Path, **changes: object) -> None:
    path = base / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def index_of_two(base: Path) -> None:
    """Weights in two files, of which the second is not there."""
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    (base / "model.safetensors").rename(base / first)
    names = {"model.embed_tokens.weight": first, "lm_head.weight": second}
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


NORM = "model.norm.weight"
BAD_ROWS = "".join(json.dumps(row) + "\n" for row in ROWS[:2]) + '{"messages": [{"role": "user"}]}\n'


@pytest.fixture(scope="module")
def failures(new_run, models) -> dict[str, dict]:
    """The last event of each failing run, by name; all of them in one process."""
    runs = {
        "no spec": new_run(),
        "unknown field": edit_spec(new_run(), lambda spec: spec.update(colour="red")),
        "wrong type": edit_spec(new_run(), lambda spec: spec.update(attempt="first")),
        "out of range": new_run(learningRate=2.0),
        "no trainer": edit_spec(new_run(), lambda spec: spec.update(trainer="audio")),
        "no weights": edit_spec(new_run(), lambda spec: spec["base"].update(path="/nowhere")),
        "no config": with_base(new_run(), models, lambda base: (base / "config.json").unlink()),
        "pickled": with_base(new_run(), models, pickled),
        "cut": with_base(new_run(), models, lambda base: cut(base / "model.safetensors")),
        "tensor lost": with_base(new_run(), models, lambda base: retensor(base, lambda all: all.pop(NORM))),
        "tensor spoilt": with_base(
            new_run(), models, lambda base: retensor(base, lambda all: all[NORM].fill(float("nan")))
        ),
        "config is a list": with_base(
            new_run(), models, lambda base: (base / "config.json").write_text("[]")
        ),
        "other heads": with_base(new_run(), models, lambda base: configure(base, num_attention_heads=3)),
        "other width": with_base(new_run(), models, lambda base: configure(base, vocab_size=50)),
        "fewer layers": with_base(new_run(), models, lambda base: configure(base, num_hidden_layers=1)),
        "shard lost": with_base(new_run(), models, index_of_two),
        "not text": new_run(),
        "no tokenizer": with_base(new_run(), models, lambda base: (base / "tokenizer.json").unlink()),
        "bad row": new_run(rows=BAD_ROWS),
        "no rows": new_run(rows=[conversation("Hi", "Hello.", weights={1: 0})]),
        "overflow": with_base(
            new_run(), models, lambda base: retensor(base, lambda all: all[NORM].fill(1e38))
        ),
    }
    (runs["no spec"].path / "spec.json").unlink()
    (runs["not text"].path / "data" / "train.jsonl").write_bytes(b'{"messages": "\xff"}\n')
    process = train_by_command(*runs.values())
    assert process.returncode == 1
    return {
        name: run.events[-1] | {"text": (run.path / "events.jsonl").read_text()} for name, run in runs.items()
    }


@pytest.mark.parametrize(
    ("name", "code", "part"),
    [
        ("no spec", "spec_invalid", "spec.json does not exist"),
        ("unknown field", "spec_invalid", "`colour`"),
        ("wrong type", "spec_invalid", "$.attempt"),
        ("out of range", "spec_invalid", "learningRate must be above 0 and at most 1, not 2.0"),
        ("no trainer", "spec_invalid", "'audio'"),
        ("no weights", "weights_missing", "/nowhere"),
        ("no config", "weights_missing", "config.json is missing"),
        ("pickled", "weights_missing", "pickled weights are not loaded"),
        ("cut", "weights_broken", "model.safetensors is damaged"),
        ("tensor lost", "weights_broken", "the tensor model.norm.weight is missing"),
        ("tensor spoilt", "weights_broken", "the tensor model.norm.weight holds NaN"),
        ("config is a list", "weights_missing", "config.json is not valid JSON"),
        ("other heads", "weights_broken", "config.json contradicts itself"),
        ("other width", "weights_broken", "the tensor lm_head.weight has another shape"),
        ("fewer layers", "weights_broken", "weight belongs to a layer that config.json does not have"),
        ("shard lost", "weights_missing", "model-00002-of-00002.safetensors is missing"),
        ("not text", "data_row_invalid", "train.jsonl, line 1"),
        ("no tokenizer", "weights_missing", "tokenizer"),
        ("bad row", "data_row_invalid", "train.jsonl, line 3 is not a usable conversation"),
        ("no rows", "no_rows_left", "no row with a reply"),
        ("overflow", "loss_not_finite", "at step 1; lower the learning rate"),
    ],
)
def test_failure_is_one_sentence_that_names_the_place(failures, name, code, part):
    event = failures[name]
    assert (event["type"], event["code"]) == ("failed", code)
    assert part in event["message"]
    assert "\n" not in event["message"] and event["message"].endswith(".") and ".." not in event["message"]
    assert "NaN" not in event["text"].replace("holds NaN", ""), "events are strict JSON"


def test_exhausted_machine_is_recognised_whichever_library_notices():
    """The texts are what torch, safetensors and Python said on a full disk and without memory."""
    errors = {
        "OSError(28, 'No space left on device')": "disk_full",
        "Exception('Error while serializing: I/O error: No space left on device (os error 28)')": "disk_full",
        "RuntimeError('[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0')": "disk_full",
        "MemoryError()": "out_of_memory",
        "RuntimeError('DefaultCPUAllocator: can\\'t allocate memory: you tried to allocate 9 bytes')": "out_of_memory",
        "RuntimeError('CUDA out of memory. Tried to allocate 9 GiB')": "out_of_memory",
        "KeyError('x')": "unexpected",
    }
    script = "from jobs.training.__main__ import explain\n"
    script += "".join(f"print(explain({error}).code)\n" for error in errors)
    result = forks.run(script)
    assert result.stdout.split() == list(errors.values())


def test_directory_that_does_not_exist_is_refused(tmp_path):
    process = train_by_command(Run(tmp_path / "nothing"))
    assert process.returncode == 1
    assert "is not a directory" in process.stderr
