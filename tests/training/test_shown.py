"""Every hyperparameter that the catalogue shows for pictures, preferences and reward models has its effect.

One run of each trainer, with every value another than the default; the text trainer's are flipped one by one in
test_text.py. A hyperparameter that a row comes to show has to be proven here or there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from catalog import data_files
from jobs.training.parameters import PARAMETERS
from jobs.training.trainers import trainer_for
from tests import forks
from tests.training.picture_runs import WORDS, caption, new_run, question
from tests.training.runs import Run, conversation, make_run
from tests.training.test_preferences import JUDGED, PAIRS, SORTED

pytestmark = pytest.mark.training

CHANGED: dict[str, Any] = {
    "epoch": 2, "batchSize": 4, "learningRate": 2e-3, "schedulerName": "linear", "warmupRatio": 0.3,
    "weightDecay": 0.25, "maxSeqLen": 48, "loraRank": 4, "loraAlpha": 12, "loraDropout": 0.25,
    "saveStep": 2, "checkpointCount": 2, "validationStep": 3,
}  # fmt: skip
# What only one trainer has; test_preferences.py compares its losses with the formulas.
LOSSES = {
    "dpoBeta",
    "lossType",
    "labelSmoothing",
    "ktoBeta",
    "desirableWeight",
    "undesirableWeight",
    "centerRewards",
}


def shown() -> dict[str, set[str]]:
    """The hyperparameters that the catalogue's rows show, by trainer."""
    found: dict[str, set[str]] = {}
    profiles = data_files.read_profiles()
    for family in data_files.read_families():
        for version in family.versions:
            for offer in data_files.offer_rows(version, profiles):
                trainer = trainer_for(family.model_type, offer.method)
                assert trainer
                found.setdefault(trainer.module, set()).update(row.key for row in offer.hyperparameters)
    del found["text"]
    return found


SHOWN = shown()


def rates(run: Run) -> list[float]:
    return list(run.metric("learning_rate").values())


def adapter(run: Run) -> dict[str, Any]:
    return json.loads((run.path / "output" / "adapter_config.json").read_text())


def ranks(run: Run) -> set[int]:
    tensors = load_file(run.path / "output" / "adapter_model.safetensors")
    return {tensor.shape[0] for name, tensor in tensors.items() if ".lora_A." in name}


def is_cut(run: Run) -> bool:
    """The one row that is too long is shortened, or left out where its picture does not fit."""
    prepared = run.last("prepared")
    changed = prepared["truncated_rows"] + prepared["dropped_rows"]
    return changed == 1 and prepared["longest"] <= run.resolved("maxSeqLen")


def kept(run: Run) -> list[str]:
    return sorted(path.name for path in (run.path / "checkpoints").iterdir())


# 12 rows in steps of 4, twice; of 6 steps the first 2 (0.3 of them) warm up.
COURSE = [0, 1e-3, 2e-3, 1.5e-3, 1e-3, 0.5e-3]
PROOFS: dict[str, Callable[[Run, list[float]], bool]] = {
    "epoch": lambda run, decays: run.last("done")["step"] == 2 * run.last("start")["steps_per_epoch"],
    "batchSize": lambda run, decays: run.last("start")["steps_per_epoch"] == 3,
    "learningRate": lambda run, decays: max(rates(run)) == pytest.approx(2e-3),
    "schedulerName": lambda run, decays: rates(run)[2:] == pytest.approx(COURSE[2:]),
    "warmupRatio": lambda run, decays: rates(run)[:3] == pytest.approx(COURSE[:3]),
    "weightDecay": lambda run, decays: decays == [0.25, 0],  # the second are biases and norms
    "maxSeqLen": lambda run, decays: is_cut(run),
    "loraRank": lambda run, decays: ranks(run) == {4},
    "loraAlpha": lambda run, decays: adapter(run)["lora_alpha"] == 12,
    "loraDropout": lambda run, decays: adapter(run)["lora_dropout"] == 0.25,
    "saveStep": lambda run, decays: [event["step"] for event in run.all("checkpoint")] == [2, 4, 6],
    "checkpointCount": lambda run, decays: kept(run) == ["checkpoint-4", "checkpoint-6"],
    "validationStep": lambda run, decays: list(run.metric("eval_loss")) == [3, 6],
}

TRAIN = """
import json, sys
from pathlib import Path
import torch
from jobs.training import samples
from jobs.training.__main__ import main
samples.PROMPTS = 0
decays = []
for directory in sys.argv[1:]:
    assert main([directory]) == 0, directory
    newest = max(Path(directory, "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))
    groups = torch.load(newest / "optimizer.pt", weights_only=True)["param_groups"]
    decays.append([group["weight_decay"] for group in groups])
print(json.dumps(decays))
"""


@pytest.fixture(scope="module")
def proven(
    models: Path, picture_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Run, list[float]]]:
    """A run of each trainer, and the weight decays that its optimiser had."""
    folder = tmp_path_factory.mktemp("shown")
    long = [{"role": "user", "content": "word " * 60}]
    rows: dict[str, tuple[str, str, list[dict]]] = {
        "dpo": ("llama", "DPO-LoRA", [*PAIRS[:11], PAIRS[11] | {"messages": long}]),
        "kto": ("llama", "KTO-LoRA", [*JUDGED[:11], JUDGED[11] | {"messages": long}]),
        "reward": ("llama", "RM-LoRA", [*SORTED[:3], SORTED[3] | {"messages": long}]),  # each 3 pairs
        "vision": ("llava_next", "LoRA", [question(*words) for words in WORDS]),
        "image": ("sdxl", "LoRA", [caption(*words) for words in WORDS]),
    }
    rows["vision"][2].append(rows["vision"][2][0] | conversation("word " * 60, "A shape."))
    runs = {}
    for trainer, (base, method, data) in rows.items():
        values = {key: CHANGED[key] for key in SHOWN[trainer] & CHANGED.keys()}
        if trainer == "vision":
            values["maxSeqLen"] = 128  # a picture alone takes 48
        make, where = (new_run, picture_models) if base not in ("llama",) else (make_run, models)
        runs[trainer] = make(folder / trainer, where / base, trainer, method, data, data[:3], **values)
    done = forks.run(TRAIN, *(run.path for run in runs.values()))
    assert done.returncode == 0, done.stderr[-3000:]
    decays = json.loads(done.stdout.splitlines()[-1])
    return dict(zip(runs, zip(runs.values(), decays, strict=True), strict=True))


@pytest.mark.parametrize(
    ("trainer", "key"), [(trainer, key) for trainer in SHOWN for key in sorted(SHOWN[trainer])]
)
def test_what_is_shown_has_its_effect(proven, trainer: str, key: str) -> None:
    if key in LOSSES:
        assert trainer not in ("vision", "image")
        return
    assert CHANGED[key] != PARAMETERS[key].default
    assert PROOFS[key](*proven[trainer])
