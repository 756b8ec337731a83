"""Two processes train as one does: same losses, one set of events, one stop for both."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from jobs.training.ranks import train_together
from tests import forks
from tests.training.runs import ROWS, Run, copy_of, make_run

pytestmark = pytest.mark.training

VALUES: dict[str, Any] = {"epoch": 3, "batchSize": 4, "learningRate": 1e-3, "maxSeqLen": 128, "saveStep": 6}
VALUES |= {"validationStep": 6, "loggingSteps": 1, "checkpointCount": 3}

# The ranks are forks of one process that has loaded the libraries, with the environment that train_together gives.
RANKS = """
import os, shutil, signal, socket, sys, time
from functools import partial
from pathlib import Path
import jobs.training.text
from jobs.training.__main__ import main
from jobs.training.events import read_events
from jobs.training.tiny import make

def fork(work):
    pid = os.fork()
    if pid == 0:
        os._exit(work() or 0)
    return pid

def ranks(directory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.environ |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    def work(number):
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number)}
        return main([directory])
    return [fork(partial(work, number)) for number in range(2)]

def codes(children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

def by_itself(directories):
    os.environ.pop("WORLD_SIZE")
    return main(directories)

def cut(source, target, step):
    shutil.copytree(source, target, dirs_exist_ok=True)
    shutil.rmtree(Path(target, "output"))
    for path in Path(target, "checkpoints").iterdir():
        if int(path.name.split("-")[1]) > step:
            shutil.rmtree(path)
    Path(target, "events.jsonl").unlink()

base, texts, alone, together, stopped, broken, fewer, more, odd, sharded, resumed, one = sys.argv[1:]
assert codes([fork(lambda: make(Path(base), "llama", Path(texts), hidden=32, steps=0))]) == [0]
assert codes([fork(lambda: main([alone]))]) == [0]
assert codes(ranks(together)) == [0, 0]
children, log = ranks(stopped), Path(stopped) / "events.jsonl"
while not any(event.get("step", 0) >= 3 for event in read_events(log)[0] if event["type"] == "metrics"):
    time.sleep(0.005)
for child in children:
    os.kill(child, signal.SIGTERM)
assert codes(children) == [0, 0]
assert codes(ranks(stopped)) == [0, 0]
assert codes(ranks(broken)) == [1, 1]
for source, target in ((together, fewer), (alone, more), (together, odd)):
    spec = Path(target, "spec.json").read_text()
    cut(source, target, 12)
    Path(target, "spec.json").write_text(spec)
assert codes([fork(lambda: by_itself([fewer, odd]))]) == [1]
assert codes(ranks(more)) == [0, 0]
os.environ["TRAINER_SHARDING"] = "always"
assert codes(ranks(sharded)) == [0, 0]
cut(sharded, resumed, 12)
assert codes(ranks(resumed)) == [0, 0]
spec = Path(one, "spec.json").read_text()
cut(sharded, one, 12)
Path(one, "spec.json").write_text(spec)
assert codes([fork(lambda: by_itself([one]))]) == [0]
"""


def shared(run: Run, **changes: Any) -> Run:
    """The same run for two processes."""
    twin = copy_of(run)
    spec = json.loads((twin.path / "spec.json").read_text())
    (twin.path / "spec.json").write_text(json.dumps(spec | {"processes": 2} | changes))
    return twin


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Run]:
    """One that a single process trains, one that two do, one that two do and that was stopped on the way, one
    without weights."""
    directory = tmp_path_factory.mktemp("ranks")
    base, texts = directory / "llama", directory / "texts.jsonl"
    texts.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    alone = make_run(directory / "alone", base, "text", "FullFineTuning", ROWS, ROWS[:8], **VALUES)
    broken = shared(alone, base={"name": "none", "path": "/nowhere"})
    found = {"alone": alone, "together": shared(alone), "stopped": shared(alone), "broken": broken}
    found |= {"fewer": copy_of(alone), "more": shared(alone)}
    spec = json.loads((alone.path / "spec.json").read_text())
    three = {"batchSize": {"value": 3, "origin": "user"}}
    found["odd"] = shared(alone, hyperparameters=spec["hyperparameters"] | three, processes=1)
    checkpointing = {"gradientCheckpointing": {"value": "True", "origin": "user"}}
    found["sharded"] = shared(alone, hyperparameters=spec["hyperparameters"] | checkpointing)
    found["resumed sharded"] = shared(alone)  # it becomes a copy of that one
    found["sharded, then one"] = copy_of(alone)
    process = forks.run(RANKS, base, texts, *(run.path for run in found.values()))
    assert process.returncode == 0, process.stderr[-3000:]
    return found


@pytest.mark.parametrize("name", ["together", "stopped", "sharded"])
def test_two_processes_have_the_losses_of_one(runs, name):
    for metric in ("loss", "eval_loss", "grad_norm"):
        assert runs[name].metric(metric) == pytest.approx(runs["alone"].metric(metric), rel=1e-4)


@pytest.mark.parametrize("name", ["fewer", "more", "sharded, then one"])
def test_a_run_goes_on_with_another_number_of_processes(runs, name):
    """The same rows in the same order, the same optimiser, the same schedule."""
    run = runs[name]
    assert run.last("start")["resumed_from"] == 12
    for metric in ("loss", "learning_rate", "grad_norm"):
        after = {step: value for step, value in runs["alone"].metric(metric).items() if step > 12}
        assert run.metric(metric) == pytest.approx(after, rel=1e-4)


def test_a_run_does_not_go_on_in_steps_of_other_sizes(runs):
    """Its step would stand elsewhere in the data. The checkpoints stay."""
    failed = runs["odd"].last("failed")
    assert failed["code"] == "other_rows" and failed["params"] == {"step": 12, "before": 4, "now": 3}
    assert [path.name for path in (runs["odd"].path / "checkpoints").glob("*12")]


def test_a_sharded_run_saves_whole_and_resumes(runs):
    """FSDP2 over gloo; the checkpoints have the files of any other run, the output loads without a word of it."""
    sharded, resumed = runs["sharded"], runs["resumed sharded"]
    assert sharded.last("start")["distribution"] == "FSDP2 × 2"
    assert runs["together"].last("start")["distribution"] == "DDP × 2"
    for folder in ("output", "checkpoints/checkpoint-12"):
        found, expected = (
            {path.name for path in (run.path / folder).iterdir()} for run in (sharded, runs["together"])
        )
        assert found == expected
    assert resumed.last("start")["resumed_from"] == 12
    one, *others = (
        load_file(run.path / "output" / "model.safetensors") for run in (sharded, resumed, runs["alone"])
    )
    for other in others:
        assert one.keys() == other.keys()
        assert all(abs(one[name] - other[name]).max() < 1e-5 for name in one)
    # A busy machine cuts answers short, and leaves some out.
    asked = [
        {(event["step"], event["number"]): event["reply"].rstrip("…") for event in run.all("sample")}
        for run in (sharded, runs["together"])
    ]
    assert len(asked[0].keys() & asked[1].keys()) >= 3
    for key in asked[0].keys() & asked[1].keys():
        shorter, longer = sorted((asked[0][key], asked[1][key]), key=len)
        assert longer.startswith(shorter)


def test_one_of_them_reports(runs):
    together = runs["together"]
    assert len(together.all("start")) == len(together.all("done")) == 1
    assert together.last("done")["step"] == runs["alone"].last("done")["step"] == 18
    assert [event["step"] for event in together.all("checkpoint")] == [6, 12, 18]
    assert (together.path / "output" / "model.safetensors").exists()
    assert [event["code"] for event in runs["broken"].all("failed")] == ["weights_missing"]


def test_a_stop_reaches_all_and_the_run_resumes(runs):
    stopped = runs["stopped"].last("stopped")
    assert 3 <= stopped["step"] == stopped["checkpoint"] < 18
    assert runs["stopped"].last("start")["resumed_from"] == stopped["step"]


class StopOnceReady:
    """A stop that is asked for once both ranks have started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @property
    def requested(self) -> bool:
        return len(list(self.directory.glob("ready*"))) == 2


def started_as(script: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of two ranks that are a shell script instead of a trainer."""
    program = directory / "python"
    program.write_text(f"#!/bin/sh\ncd {directory}\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return train_together(directory, 2, 3, StopOnceReady(directory))  # type: ignore[arg-type]


def test_one_that_fails_ends_the_others(tmp_path, monkeypatch):
    assert started_as("[ $RANK = 1 ] && exit 3; exec sleep 100", tmp_path, monkeypatch) == 3


def test_the_first_reports_what_another_has_failed_with(tmp_path, monkeypatch):
    script = "[ $RANK = 1 ] && exit 1; sleep 0.3; touch reported; exit 1"
    assert started_as(script, tmp_path, monkeypatch) == 1
    assert (tmp_path / "reported").exists()


def test_each_is_told_who_it_is_and_when_to_stop(tmp_path, monkeypatch):
    script = 'trap "touch stopped$RANK; exit 0" TERM; echo $* $LOCAL_RANK/$WORLD_SIZE $OMP_NUM_THREADS > told$RANK\n'
    assert started_as(script + "touch ready$RANK; while :; do sleep 0.02; done", tmp_path, monkeypatch) == 0
    for rank in (0, 1):
        assert (tmp_path / f"stopped{rank}").exists()
        assert (tmp_path / f"told{rank}").read_text() == f"-m jobs.training {tmp_path} {rank}/2 3\n"
