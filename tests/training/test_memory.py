"""Memory: estimated before the start, refused where it cannot suffice, halved batches where it did not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.training.events import TrainingFailure
from jobs.training.memory import GIB, estimate, machine_memory, require
from tests import forks
from tests.training.runs import ROWS, copy_of


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A directory that says 1,000 parameters of a model with 2 layers of width 10."""
    config = {"hidden_size": 10, "num_hidden_layers": 2, "intermediate_size": 20, "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros((30, 30), "float16"), "b": np.zeros(100, "float16")}, tmp_path / "a.safetensors")
    return tmp_path


def test_full_training_takes_16_bytes_a_parameter(weights):
    found = estimate(weights, "FullFineTuning", batch=2, length=5)
    assert (found.parameters, found.trained) == (1000, 1000)
    assert (found.weights, found.gradients, found.optimiser) == (4000, 4000, 8000)
    assert found.activations == 2 * 5 * (2 * (8 * 10 + 4 * 20) * 4 + 12 * 100)


def test_adapters_on_a_gpu_keep_a_half_precision_base(weights):
    found = estimate(weights, "LoRA", 1, 5, device="cuda", rank=4)
    assert found.trained == 4 * 2 * 10 * 2 * 2
    assert found.weights == 2000 + 4 * found.trained and found.optimiser == 8 * found.trained


def test_what_grows_with_batch_and_length_is_the_activations(weights):
    small, large = (estimate(weights, "FullFineTuning", batch, 64) for batch in (1, 4))
    assert (small.fixed, 4 * small.activations) == (large.fixed, large.activations)
    kept = estimate(weights, "FullFineTuning", 1, 64, checkpointing=True)
    assert kept.activations < small.activations


def test_a_directory_that_says_nothing_has_no_estimate(tmp_path):
    assert estimate(tmp_path, "LoRA", 1, 1) is None


@pytest.mark.parametrize(("free", "advice"), [(0.3, "choose LoRA"), (1.0, "lower batchSize (8)")])
def test_a_run_that_is_clearly_too_large_is_refused_with_numbers(weights, free, advice):
    needed = estimate(weights, "FullFineTuning", 8, 200_000)
    with pytest.raises(TrainingFailure, match="GiB") as refused:
        require(needed, int(free * GIB), "the machine", 8, 200_000)
    assert refused.value.code == "too_little_memory" and advice in refused.value.message
    require(needed, 100 * GIB, "the machine", 8, 200_000)


def test_the_machine_has_memory():
    assert 0 < machine_memory() < 2**50


@pytest.mark.training
def test_a_run_that_does_not_fit_goes_on_with_half_the_batch(new_run):
    whole = new_run("llama", rows=ROWS, epoch=1, batchSize=4, learningRate=1e-3, maxSeqLen=128, warmupRatio=0)
    cut = copy_of(whole)
    script = (
        "import torch\n"
        "from jobs.training.__main__ import main\n"
        f"assert main([{str(whole.path)!r}]) == 0\n"
        "from jobs.training.sft import TextTrainer\n"
        "step = TextTrainer.training_step\n"
        "def small(self, model, inputs, *args, **options):\n"
        "    if len(inputs['input_ids']) > 2:\n"
        "        raise torch.OutOfMemoryError('CUDA out of memory')\n"
        "    return step(self, model, inputs, *args, **options)\n"
        "TextTrainer.training_step = small\n"
        f"assert main([{str(cut.path)!r}]) == 0\n"
    )
    process = forks.run(script)
    assert process.returncode == 0, process.stderr[-2000:]
    assert cut.last("warning")["params"] == {"batch": 2, "steps": 2}
    assert (cut.resolved("batchSize"), cut.resolved("gradientAccumulationSteps")) == (2, 2)
    assert cut.metric("loss") == pytest.approx(whole.metric("loss"), abs=1e-4)
