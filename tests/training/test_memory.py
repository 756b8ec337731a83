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


def test_qlora_keeps_the_layers_in_4_bits_and_the_embeddings_whole(tmp_path):
    config = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tensors = {
        "model.embed_tokens.weight": (100, 64),
        "layers.0.q_proj.weight": (64, 64),
        "norm.weight": (64,),
    }
    save_file(
        {name: np.zeros(shape, "float16") for name, shape in tensors.items()}, tmp_path / "a.safetensors"
    )
    plain, found = (estimate(tmp_path, method, 1, 5, device="cuda", rank=4) for method in ("LoRA", "QLoRA"))
    assert plain.weights - found.weights == 64 * 64 * 2 - 64 * 64 * (0.5 + 1 / 64)
    assert (found.trained, found.activations) == (plain.trained, plain.activations)


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


def test_shards_divide_all_but_the_activations(weights):
    whole, part = (estimate(weights, "FullFineTuning", 1, 8, shards=shards) for shards in (1, 4))
    assert (part.gradients, part.optimiser) == (whole.gradients // 4, whole.optimiser // 4)
    assert part.activations == whole.activations
    assert part.weights == whole.weights // 4 + whole.weights  # with its two layers at a time


DECIDE = """
import json, os, sys
from pathlib import Path
from jobs.training import device, memory
from jobs.training.resolve import Resolved
from jobs.training.spec import Setting
weights, method, size, free, processes, given, sharding = sys.argv[1:]
os.environ |= {"WORLD_SIZE": processes, "TRAINER_SHARDING": sharding}
memory.machine_size = lambda: int(size)
memory.machine_memory = lambda: int(free) - memory.LIBRARIES["cpu"]
values = Resolved(method, {key: Setting(value, "user") for key, value in json.loads(given).items()})
if "batchSize" not in json.loads(given):
    values.decide("batchSize", 8)
    values.decide("gradientAccumulationSteps", 1)
sharded = device.Room(Path(weights), method, values, "cpu").decide(100_000)
keys = ("gradientCheckpointing", "batchSize", "gradientAccumulationSteps")
print(json.dumps([sharded, *(values[key] for key in keys)]))
"""


@pytest.mark.training
@pytest.mark.parametrize(
    ("free", "given", "decided"),
    [
        (100, {}, [False, "False", 8, 1]),
        # 8 rows take 2.4 GiB with the libraries, 2.0 where activations are not kept; four fifths of what is free count.
        (2.6, {}, [False, "True", 8, 1]),
        (2.6, {"gradientCheckpointing": "False"}, [False, "False", 4, 2]),
        (1.2, {}, [False, "True", 2, 4]),
        (1.2, {"batchSize": 8, "gradientAccumulationSteps": 1}, [False, "True", 8, 1]),
    ],
)
def test_a_run_is_fitted_into_what_is_free(weights, free, given, decided):
    done = forks.run(DECIDE, weights, "FullFineTuning", GIB, int(free * GIB), 1, json.dumps(given), "auto")
    assert json.loads(done.stdout) == decided, done.stderr


@pytest.mark.training
@pytest.mark.parametrize(
    ("method", "size", "sharding", "is_sharded"),
    [
        ("FullFineTuning", 100, "auto", False),
        ("FullFineTuning", 2, "auto", True),
        ("FullFineTuning", 2, "never", False),
        ("FullFineTuning", 100, "always", True),
        ("LoRA", 2, "always", False),
    ],
)
def test_devices_share_a_model_that_takes_more_than_half_of_one(weights, method, size, sharding, is_sharded):
    done = forks.run(DECIDE, weights, method, size * GIB, 100 * GIB, 2, "{}", sharding)
    assert json.loads(done.stdout)[0] is is_sharded, done.stderr


@pytest.mark.training
def test_checkpointing_computes_twice_and_trains_the_same(new_run):
    few = {"batchSize": 8, "learningRate": 1e-3, "maxSeqLen": 128}
    runs = [new_run(gradientCheckpointing=value, **few) for value in ("False", "True")]
    script = (
        "import sys\n"
        "from transformers.models.llama.modeling_llama import LlamaMLP\n"
        "from jobs.training import samples\n"
        "from jobs.training.__main__ import main\n"
        "samples.PROMPTS, forward, calls = 0, LlamaMLP.forward, []\n"
        "LlamaMLP.forward = lambda *arguments: calls.append(1) or forward(*arguments)\n"
        "for directory in sys.argv[1:]:\n"
        "    calls.clear()\n"
        "    assert main([directory]) == 0\n"
        "    print('calls', len(calls))\n"
    )
    done = forks.run(script, *(run.path for run in runs))
    counts = [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("calls")]
    assert counts[1] == 2 * counts[0] > 0, done.stderr
    assert runs[0].metric("loss") == pytest.approx(runs[1].metric("loss"), rel=1e-5)


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
    assert [event["code"] for event in cut.all("warning")] == ["batch_halved"]


@pytest.mark.training
def test_a_batch_of_one_that_does_not_fit_goes_on_with_checkpointing(new_run):
    run = new_run("llama", rows=ROWS[:4], batchSize=1, maxSeqLen=128)
    script = (
        "import sys, torch\n"
        "from jobs.training.__main__ import main\n"
        "from jobs.training.sft import TextTrainer\n"
        "step = TextTrainer.training_step\n"
        "def small(self, model, inputs, *args, **options):\n"
        "    if not self.args.activation_checkpointing:\n"
        "        raise torch.OutOfMemoryError('CUDA out of memory')\n"
        "    return step(self, model, inputs, *args, **options)\n"
        "TextTrainer.training_step = small\n"
        "assert main(sys.argv[1:]) == 0\n"
    )
    process = forks.run(script, run.path)
    assert process.returncode == 0, process.stderr[-2000:]
    assert [event["code"] for event in run.all("warning")] == ["checkpointing_on"]
    assert run.resolved("gradientCheckpointing") == "True" and run.all("done")
