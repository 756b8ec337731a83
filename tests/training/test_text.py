"""Text runs, all in one process: both methods on every kind of architecture, and each hyperparameter's
effect.

The table EFFECTS has one entry per hyperparameter; each of its runs differs from the plain one in that key
alone (and in what the key needs to have an effect at all).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from safetensors.numpy import load_file

from jobs.training.parameters import PARAMETERS
from tests import forks
from tests.training.runs import ROWS, Run, conversation

pytestmark = pytest.mark.training

EVAL = ROWS[:6]
PLAIN = {"batchSize": 4, "learningRate": 1e-3, "warmupRatio": 0, "schedulerName": "linear", "maxSeqLen": 128}
PLAIN |= {"validationStep": 0}  # 24 rows, 6 steps
LORA = {**PLAIN, "loraAllLinear": "True"}
LONG = [*ROWS[:20], *[conversation("word " * 60, "A short reply.")] * 4]


def rates(run: Run) -> list[float]:
    """The learning rate of each step."""
    return list(run.metric("learning_rate").values())


def weights(run: Run) -> dict[str, Any]:
    name = "adapter_model" if (run.path / "output" / "adapter_config.json").exists() else "model"
    return load_file(run.path / "output" / f"{name}.safetensors")


def adapter(run: Run) -> dict[str, Any]:
    return json.loads((run.path / "output" / "adapter_config.json").read_text())


def size(run: Run) -> float:
    """Sum of the absolute values of the layers that weight decay works on."""
    return sum(abs(tensor).sum() for name, tensor in weights(run).items() if "norm" not in name)


# For each key: (method, values, rows, evaluation rows), and whether the run shows the effect against the
# plain one.
Effect = tuple[str, dict[str, Any], list[dict], list[dict] | None, Callable[[Run, Run], bool]]
FULL, ADAPTER = "FullFineTuning", "LoRA"
STOPPING = {
    "validationStep": 1,
    "earlyStopping": "True",
    "earlyStoppingThreshold": 100,
    "earlyStoppingPatience": 2,
}
EFFECTS: dict[str, Effect] = {
    "epoch": (FULL, {"epoch": 2}, ROWS, None, lambda run, plain: run.last("start")["total_steps"] == 12),
    "learningRate": (FULL, {"learningRate": 5e-4}, ROWS, None, lambda run, plain: max(rates(run)) == 5e-4),
    "batchSize": (FULL, {"batchSize": 8}, ROWS, None, lambda run, plain: run.last("done")["step"] == 3),
    "maxSeqLen": (
        FULL,
        {"maxSeqLen": 32},
        LONG,
        None,
        lambda run, plain: (
            run.last("prepared")["longest"] == 32 and run.last("prepared")["truncated_rows"] == 4
        ),
    ),
    "packing": (
        FULL,
        {"packing": "true", "batchSize": 1},
        ROWS,
        None,
        lambda run, plain: run.last("start")["total_steps"] < 12 and run.last("prepared")["rows"] == 24,
    ),
    "loggingSteps": (
        FULL,
        {"loggingSteps": 4},
        ROWS,
        None,
        lambda run, plain: list(run.metric("loss")) == [4, 6],  # the last step always
    ),
    "warmupRatio": (
        FULL,
        {"warmupRatio": 0.5},
        ROWS,
        None,
        lambda run, plain: rates(run)[:4] == pytest.approx([0, 1e-3 / 3, 2e-3 / 3, 1e-3]),
    ),
    "weightDecay": (
        FULL,
        {"weightDecay": 1.0},
        ROWS,
        None,
        lambda run, plain: size(run) < 0.999 * size(plain),
    ),
    "loraRank": (
        ADAPTER,
        {"loraRank": 4},
        ROWS,
        None,
        lambda run, plain: (
            run.last("start")["parameters"]["trainable"] == plain.last("start")["parameters"]["trainable"] / 2
        ),
    ),
    "loraAlpha": (
        ADAPTER,
        {"loraAlpha": 64},
        ROWS,
        None,
        lambda run, plain: adapter(run)["lora_alpha"] == 64,
    ),
    "loraDropout": (
        ADAPTER,
        {"loraDropout": 0.5},
        ROWS,
        None,
        lambda run, plain: (
            run.metric("loss")[6] != plain.metric("loss")[6] and adapter(run)["lora_dropout"] == 0.5
        ),
    ),
    "loraAllLinear": (
        ADAPTER,
        {"loraAllLinear": "False"},
        ROWS,
        None,
        lambda run, plain: len(weights(run)) == 2 * 2 * 2 and len(weights(plain)) == 2 * 2 * 7,
    ),
    "loraTargetModules": (
        ADAPTER,
        {"loraTargetModules": ["self_attn.k_proj", "mlp.up_proj"]},
        ROWS,
        None,
        lambda run, plain: set(adapter(run)["target_modules"]) == {"k_proj", "up_proj"},
    ),
    "gradientAccumulationSteps": (
        FULL,
        {"batchSize": 2, "gradientAccumulationSteps": 2},
        ROWS,
        None,
        # The same updates in smaller pieces: the loss is a mean over tokens, not over pieces.
        lambda run, plain: (
            list(run.metric("loss").values()) == pytest.approx(list(plain.metric("loss").values()), rel=1e-4)
        ),
    ),
    "pseudoSamplingProb": (
        FULL,
        {"pseudoSamplingProb": 1},
        ROWS,
        None,
        lambda run, plain: run.last("prepared")["joined_rows"] == 24 and run.last("prepared")["rows"] <= 12,
    ),
    "seed": (
        FULL,
        {"seed": 1},
        ROWS,
        None,
        lambda run, plain: run.metric("loss")[1] != plain.metric("loss")[1],
    ),
    "schedulerName": (
        FULL,
        {"schedulerName": "constant"},
        ROWS,
        None,
        lambda run, plain: rates(run) == [1e-3] * 6 and rates(plain)[-1] == pytest.approx(1e-3 / 6),
    ),
    "numCycles": (
        FULL,
        {"schedulerName": "cosine", "numCycles": 1.0},
        ROWS,
        None,
        lambda run, plain: (
            rates(run)
            == pytest.approx(
                [1e-3 * 0.5 * (1 + math.cos(2 * math.pi * step / 6)) for step in range(6)], abs=1e-9
            )
        ),
    ),
    "lrEnd": (
        FULL,
        {"schedulerName": "polynomial", "lrEnd": 4e-4},
        ROWS,
        None,
        lambda run, plain: rates(run)[-1] == pytest.approx(5e-4),
    ),
    "power": (
        FULL,
        {"schedulerName": "polynomial", "lrEnd": 0, "power": 2},
        ROWS,
        None,
        lambda run, plain: rates(run)[3] == pytest.approx(0.25e-3),
    ),
    "validationStep": (
        FULL,
        {"validationStep": 4},
        ROWS,
        EVAL,
        lambda run, plain: list(run.metric("eval_loss")) == [4, 6] and not plain.metric("eval_loss"),
    ),
    "earlyStopping": (
        FULL,
        STOPPING,
        ROWS,
        EVAL,
        lambda run, plain: run.last("done")["early_stopped"] and run.last("done")["step"] == 3,
    ),
    "earlyStopMetric": (
        FULL,
        {**STOPPING, "validationStep": 0, "earlyStopMetric": "trainingLoss"},
        ROWS,
        None,
        lambda run, plain: run.last("done")["early_stopped"] and run.last("done")["step"] == 3,
    ),
    "earlyStoppingThreshold": (
        FULL,
        {**STOPPING, "earlyStoppingThreshold": 0},
        ROWS,
        EVAL,
        lambda run, plain: not run.last("done")["early_stopped"],
    ),
    "earlyStoppingPatience": (
        FULL,
        {**STOPPING, "earlyStoppingPatience": 4},
        ROWS,
        EVAL,
        lambda run, plain: run.last("done")["step"] == 5,
    ),
    "checkpointCount": (
        FULL,
        {"saveStep": 1, "checkpointCount": 2},
        ROWS,
        None,
        lambda run, plain: (
            sorted(p.name for p in (run.path / "checkpoints").iterdir()) == ["checkpoint-5", "checkpoint-6"]
            and [event["step"] for event in run.all("checkpoint_removed")] == [1, 2, 3, 4]
        ),
    ),
    "saveStep": (
        FULL,
        {"saveStep": 4},
        ROWS,
        None,
        lambda run, plain: [event["step"] for event in run.all("checkpoint")] == [4, 6],
    ),
}

# Other runs of the same process: (architecture, method, values).
OTHERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "full": ("llama", FULL, PLAIN),
    "lora": ("llama", ADAPTER, LORA),
    "accumulation of 8": ("llama", FULL, {**PLAIN, "batchSize": 1, "gradientAccumulationSteps": 8}),
    "batch of 8": ("llama", FULL, {**PLAIN, "batchSize": 8}),
    "nothing given": ("llama", FULL, {}),
    "automatic accumulation": ("llama", FULL, {**PLAIN, "batchSize": 1, "gradientAccumulationSteps": 0}),
    "packing decided": ("llama", FULL, {**PLAIN, "packing": "auto", "batchSize": 1}),
    "bloom packed": ("bloom", FULL, {**PLAIN, "packing": "true"}),
    "bloom lora": ("bloom", ADAPTER, {**PLAIN, "loraAllLinear": "False"}),
    "glm packed": ("glm", FULL, {**PLAIN, "packing": "true", "batchSize": 1}),
    "ernie moe full": ("ernie4_5_moe", FULL, PLAIN),
    "ernie moe lora": ("ernie4_5_moe", ADAPTER, {**LORA, "loraDropout": 0.1}),
    "mixtral full": ("mixtral", FULL, {**PLAIN, "epoch": 1}),
    "baichuan packed": ("baichuan_alibi", FULL, {**PLAIN, "packing": "true", "batchSize": 1}),
    "baichuan lora": ("baichuan_alibi", ADAPTER, LORA),
    "mistral lora": ("mistral", ADAPTER, LORA),
    "mixtral lora": ("mixtral", ADAPTER, LORA),
}


@pytest.fixture(scope="session")
def runs(new_run) -> dict[str, Run]:
    """Every run of this file, trained by one process that also tells which modules it has imported."""
    runs = {name: new_run(base, method, **values) for name, (base, method, values) in OTHERS.items()}
    still = {**PLAIN, "learningRate": 1e-12, "validationStep": 100}
    for size in (1, 5):
        runs[f"evaluated by {size}"] = new_run(eval_rows=LONG, **{**still, "batchSize": size})
    effects = {}
    for key, (method, values, rows, eval_rows, _) in EFFECTS.items():
        plain = LORA if method == ADAPTER else PLAIN
        effects[key] = new_run("llama", method, rows, eval_rows, **{**plain, **values})
    script = (
        "import sys\n"
        "from jobs.training.__main__ import main\n"
        "from jobs.training import samples\n"
        f"code = main({[str(run.path) for run in runs.values()]!r})\n"
        "samples.PROMPTS = 0\n"  # which change nothing (test_samples.py) and take half of the time
        f"code = max(code, main({[str(run.path) for run in effects.values()]!r}))\n"
        "print('django' in sys.modules)\n"
        "sys.exit(code)\n"
    )
    process = forks.run(script)
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.rstrip().endswith("False"), "the trainer imported django"
    return runs | effects


def test_every_hyperparameter_has_an_effect_listed():
    """Those of the other modes are shown in test_preferences.py, that of the memory in test_memory.py."""
    others = {"gradientCheckpointing", "dpoBeta", "lossType", "labelSmoothing", "ktoBeta"}
    others |= {"desirableWeight", "undesirableWeight", "centerRewards"}
    assert EFFECTS.keys() | others == PARAMETERS.keys()


@pytest.mark.parametrize("key", EFFECTS)
def test_hyperparameter_has_its_effect(runs, key):
    method, _, _, _, shows = EFFECTS[key]
    assert shows(runs[key], runs["lora" if method == ADAPTER else "full"])


@pytest.mark.parametrize("name", ["full", "ernie moe full"])
def test_full_training_moves_every_parameter(runs, models, name):
    base = load_file(models / OTHERS[name][0] / "model.safetensors")
    trained = weights(runs[name])
    assert base.keys() == trained.keys()
    # ERNIE's router bias is a statistic that no gradient reaches.
    still = [
        key for key in base if (base[key] == trained[key]).all() and "e_score_correction_bias" not in key
    ]
    assert not still


@pytest.mark.parametrize(
    "name", ["lora", "bloom lora", "ernie moe lora", "mixtral lora", "baichuan lora", "mistral lora"]
)
def test_lora_writes_an_adapter_of_which_every_matrix_moved(runs, name):
    trained = weights(runs[name])
    assert trained and all("lora_" in key for key in trained)
    assert all((tensor != 0).any() for tensor in trained.values())  # the B matrices start at zero
    start = runs[name].last("start")["parameters"]
    assert start["trainable"] == sum(tensor.size for tensor in trained.values())


def test_expert_adapters_cover_experts_shared_experts_and_dense_layers(runs):
    keys = " ".join(weights(runs["ernie moe lora"]))
    for part in (
        "layers.0.mlp.gate_proj",
        "layers.1.mlp.experts",
        "shared_experts.down_proj",
        "self_attn.o_proj",
    ):
        assert part in keys
    assert ".mlp.gate.lora" not in keys, "the router keeps its weights"
    assert [event["code"] for event in runs["ernie moe lora"].all("warning")] == ["lora_dropout_off"]
    assert runs["ernie moe lora"].resolved("loraDropout") == 0


def test_one_batch_of_eight_equals_eight_of_one(runs):
    eight, one = runs["batch of 8"].metric("loss"), runs["accumulation of 8"].metric("loss")
    assert list(eight.values()) == pytest.approx(list(one.values()), rel=1e-4)


def test_evaluation_does_not_depend_on_the_batch_size(runs):
    one, five = (runs[f"evaluated by {size}"].last("done")["metrics"] for size in (1, 5))
    for name in ("eval_loss", "eval_token_accuracy", "eval_perplexity"):
        assert one[name] == pytest.approx(five[name], rel=1e-5)


def test_what_is_not_given_is_chosen_and_reported(runs):
    resolved = runs["nothing given"].last("start")["resolved"]
    # 24 rows and at least 10 updates an epoch: 2 rows an update.
    assert resolved["batchSize"] == {"value": 2, "origin": "trainer"}
    assert resolved["gradientAccumulationSteps"] == {"value": 1, "origin": "trainer"}
    assert runs["automatic accumulation"].resolved("gradientAccumulationSteps") == 2
    assert runs["full"].last("start")["resolved"]["batchSize"] == {"value": 4, "origin": "user"}


def test_automatic_packing_leaves_small_data_their_updates(runs):
    assert runs["packing decided"].resolved("packing") == "false"


@pytest.mark.parametrize("name", ["bloom packed", "glm packed", "baichuan packed"])
def test_packing_holds_where_rows_stay_apart(runs, name):
    """The trainer asks the model itself; transformers' own BLOOM lets packed rows see each other."""
    assert not runs[name].all("warning")
    assert runs[name].resolved("packing") == "true"


def test_bloom_is_saved_as_a_plain_bloom(runs):
    config = json.loads((runs["bloom packed"].path / "output" / "config.json").read_text())
    assert config["architectures"] == ["BloomForCausalLM"] and "auto_map" not in config


@pytest.mark.parametrize("name", ["ernie moe full", "mixtral full"])
def test_saved_experts_do_not_put_out_what_only_training_needs(runs, name):
    config = json.loads((runs[name].path / "output" / "config.json").read_text())
    assert not config.get("output_router_logits", False)
    assert min(runs[name].metric("router_loss").values()) > 0


def test_events_tell_the_whole_story(runs):
    run = runs["validationStep"]
    types = [event["type"] for event in run.events]
    phases = [event["name"] for event in run.all("phase")]
    assert phases == ["loading_libraries", "loading_weights", "preparing_data", "training", "saving"]
    assert types.index("prepared") < types.index("start") < types.index("metrics") < types.index("done")
    done = run.last("done")
    assert done["step"] == 6 and done["bytes"] > 0 and done["output"] == "output"
    assert done["metrics"]["eval_loss"] == run.metric("eval_loss")[6]
    assert run.last("progress")["step"] == run.last("progress")["total_steps"] == 6
    checkpoint = run.last("checkpoint")
    assert (run.path / checkpoint["path"] / "trainer_state.json").exists()
    assert checkpoint["eval_loss"] == run.metric("eval_loss")[6]


def test_output_has_what_serving_needs(runs):
    full = {path.name for path in (runs["full"].path / "output").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= full
    lora = {path.name for path in (runs["lora"].path / "output").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= lora
