"""QLoRA on a CPU: the base model in 4 bits under an adapter that is trained, resumed, merged and loaded as any."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests import forks
from tests.training.runs import ROWS, Run, killed_after, make_run, train
from tests.training.test_preferences import PAIRS

pytestmark = [
    pytest.mark.training,
    pytest.mark.skipif(
        importlib.util.find_spec("bitsandbytes") is None, reason="pip install -r requirements-qlora.txt"
    ),
]
VALUES: dict[str, Any] = {"epoch": 4, "batchSize": 8, "learningRate": 2e-2, "maxSeqLen": 128, "saveStep": 4}
VALUES |= {"checkpointCount": 9, "validationStep": 4, "loraRank": 8, "schedulerName": "constant"}


@pytest.fixture(scope="module")
def runs(models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """All the runs of this file, trained by one process; the last one again from a checkpoint."""

    def make(trainer: str, method: str, rows: list[dict], base: str = "llama") -> Run:
        path = tmp_path_factory.mktemp("run")
        return make_run(path, models / base, trainer, method, rows, rows[:4], **VALUES)

    made = {
        "dpo": make("dpo", "DPO-QLoRA", PAIRS),
        "lora": make("text", "LoRA", ROWS),
        "experts": make("text", "QLoRA", ROWS, "mixtral"),
        "text": make("text", "QLoRA", ROWS),
    }
    train(*made.values())
    made["killed"] = killed_after(made["text"], 4)
    assert train(made["killed"]).returncode == 0
    return made


def adapter(run: Run) -> dict[str, Any]:
    return load_file(run.path / "output" / "adapter_model.safetensors")


@pytest.mark.parametrize("name", ["text", "dpo"])
def test_it_learns_on_a_base_in_4_bits(runs: dict[str, Run], name: str) -> None:
    start, losses = runs[name].last("start"), list(runs[name].metric("loss").values())
    assert start["dtype"] == "float32 · NF4"
    assert start["parameters"] == runs["lora"].last("start")["parameters"]
    assert losses[-1] < 0.97 * losses[0]
    assert {str(tensor.dtype) for tensor in adapter(runs[name]).values()} == {"float32"}


def test_the_base_is_rounded(runs: dict[str, Run]) -> None:
    plain, rounded = (runs[name].metric("loss")[1] for name in ("lora", "text"))
    assert plain != rounded and plain == pytest.approx(rounded, rel=0.02)


def test_evaluations_and_samples_leave_it_as_it_was(runs: dict[str, Run]) -> None:
    """A run that was killed after a checkpoint ends in the same adapter, to the bit."""
    assert runs["killed"].last("start")["resumed_from"] == 4
    one, other = adapter(runs["text"]), adapter(runs["killed"])
    assert all((one[name] == other[name]).all() for name in one)


def test_experts_are_refused(runs: dict[str, Run]) -> None:
    assert runs["experts"].last("failed")["code"] == "not_in_four_bits"


MERGE = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
from jobs.training.__main__ import main
run, base, merged = sys.argv[1:]
assert main(["--merge", run, merged]) == 0
ids = torch.tensor([[5, 9, 12, 7]])
beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), run + "/output")(ids).logits
plain, inside = (AutoModelForCausalLM.from_pretrained(path)(ids).logits for path in (base, merged))
assert (beside - inside).abs().max() < 1e-5 < (beside - plain).abs().max()
"""


def test_merged_weights_answer_as_the_adapter_does(
    runs: dict[str, Run], models: Path, tmp_path: Path
) -> None:
    done = forks.run(MERGE, runs["text"].path, models / "llama", tmp_path / "merged")
    assert done.returncode == 0, done.stderr


def test_without_the_library_it_fails_in_one_sentence(models: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", models / "llama", "text", "QLoRA", ROWS)
    script = "import sys; sys.modules['bitsandbytes'] = None\nfrom jobs.training.__main__ import main\n"
    assert forks.run(script + "sys.exit(main(sys.argv[1:]))", run.path).returncode == 1
    failed = run.last("failed")
    assert failed["code"] == "library_missing" and "requirements-qlora.txt" in failed["message"]
