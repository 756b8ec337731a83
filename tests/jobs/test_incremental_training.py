"""An incremental run really starts from the base run's weights, and trains on some of its rows again."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from catalog.models import BaseModel
from datasets.rows import iter_rows
from jobs import launch
from jobs.models import Run, RunSource, RunState
from jobs.run_files import result_directory
from jobs.weights import WeightsUnavailable
from tests.rows import store_rows
from tests.tiny_models import make_tiny
from tests.training.runs import Run as TrainerRun
from tests.training.runs import train

pytestmark = [pytest.mark.training, pytest.mark.django_db]

# A fall of the loss that one step could never bring: the base has learned these rows by heart.
STEPS = {"epoch": 20, "learningRate": 1e-2, "batchSize": 16, "maxSeqLen": 512, "loggingSteps": 1}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("weights") / "llama", "llama")


@pytest.fixture
def run_on(make_run, make_version, weights, base_model):
    """Returns a function that trains a run on 64 rows and returns it with its events."""
    BaseModel.objects.filter(pk=base_model.pk).update(weights_location=str(weights))
    versions = {}

    def run(word: str, **fields) -> tuple[Run, list[dict]]:
        if word not in versions:
            versions[word] = version = make_version(64, name=word)
            rows = [line.replace(b"question", word.encode()) for line in iter_rows(version)]
            version.rows_path = store_rows(f"{word}.parquet", rows)
            version.save()
        made = make_run(RunState.DONE, method="FullFineTuning", finished_at=timezone.now(), **fields)
        RunSource.objects.create(run=made, version=versions[word])
        made = Run.objects.get(pk=made.pk)
        directory = launch.prepare(made)
        train(TrainerRun(directory)).check_returncode()
        lines = (directory / "events.jsonl").read_text().splitlines()
        return made, [json.loads(line) for line in lines]

    return run


def losses(events: list[dict]) -> list[float]:
    return [
        event["values"]["loss"]
        for event in events
        if event["type"] == "metrics" and "loss" in event["values"]
    ]


def test_it_starts_where_the_base_run_ended(run_on):
    base, events = run_on("question", hyperparameters=STEPS | {"saveStep": 64, "checkpointCount": 1})
    learned = losses(events)
    assert learned[-1] < 0.5 * learned[0]

    # The same rows at a rate that moves nothing: the loss is what the base run ended with, not what it began with.
    still = STEPS | {"epoch": 1, "learningRate": 1e-30, "weightDecay": 0.0}
    run, events = run_on("question", hyperparameters=still, base_run=base)
    assert losses(events)[0] < 0.5 * learned[0]
    assert_same_weights(run, base, None)

    # Other rows on its checkpoint, and a quarter of the base run's rows among them.
    (saved,) = (launch.run_directory(base) / "checkpoints").glob("checkpoint-*")
    step = int(saved.name.removeprefix("checkpoint-"))
    run, events = run_on("puzzle", hyperparameters=still, base_run=base, base_step=step, base_mix=25)
    assert_same_weights(run, base, step)
    rows = (launch.run_directory(run) / "data" / "train.jsonl").read_text().splitlines()
    assert sum("question" in row for row in rows) == 16
    assert next(event for event in events if event["type"] == "prepared")["rows"] == 80


def assert_same_weights(run: Run, base: Run, step: int | None) -> None:
    """The result of `run` is that of `base` at a step, tensor by tensor."""
    import torch
    from safetensors.torch import load_file

    before = load_file(result_directory(base, step) / "model.safetensors")
    after = load_file(result_directory(run, None) / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_base_that_is_gone_is_told(make_run, make_version):
    base = make_run(RunState.DONE, method="FullFineTuning")
    run = make_run(RunState.WAITING, base_run=base, base_step=7)
    RunSource.objects.create(run=run, version=make_version(120))
    with pytest.raises(WeightsUnavailable, match="checkpoint-7") as refused:
        launch.prepare(run)
    assert refused.value.code == "base_run_missing"
