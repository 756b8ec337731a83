"""One measured training of bench/training.py: `python -m bench.peers NAME DIRECTORY [checkpointing]`.

Prints {"cpu": processor seconds a step, "tokens_per_second", "tokens_per_cpu_second", "loss": of the last step} as its
last line. The first
two steps warm up and are not counted. `overhead` prints shares of a run of ours instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_root = str(Path(__file__).resolve().parents[1])
sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _root] + [_root]

BATCH, LENGTH, STEPS, WARM_UP = 4, 512, 16, 2
VOCABULARY, HIDDEN, LAYERS = 8192, 256, 4  # 7 million parameters
EPOCHS_PACKED = 8  # at least STEPS steps


def main() -> None:
    name, directory = sys.argv[1], Path(sys.argv[2])
    checkpointing = "checkpointing" in sys.argv[3:]
    print(json.dumps(FOUND[name](directory, checkpointing)))


def _model(directory: Path, checkpointing: bool) -> dict[str, Any]:
    """The model and the tokenised rows that all of them train on."""
    import msgspec
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    from jobs.training.tiny import make_tokenizer

    set_seed(1)
    rows = [msgspec.json.decode(line) for line in (directory / "train.jsonl").open("rb")]
    tokenizer = make_tokenizer([row["messages"] for row in rows], VOCABULARY)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(directory / "model")
    tokenizer.save_pretrained(directory / "model")
    return {"parameters": model.num_parameters()}


class Meter:
    """Processor time and tokens between the end of the warm-up and the end of training."""

    def __init__(self) -> None:
        from transformers import TrainerCallback

        meter = self
        self.cpu = self.wall = 0.0
        self.losses: list[float] = []

        class Callback(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.global_step == WARM_UP:
                    meter.cpu, meter.wall = time.process_time(), time.monotonic()
                if state.global_step == STEPS:
                    meter.cpu, meter.wall = time.process_time() - meter.cpu, time.monotonic() - meter.wall

            def on_log(self, args: Any, state: Any, control: Any, logs: dict, **_: Any) -> None:
                if "loss" in logs:
                    meter.losses.append(float(logs["loss"]))

        self.callback = Callback()

    def result(self, tokens: int, steps_of_all: int = STEPS) -> dict[str, float]:
        """`tokens` are those of all rows, which take so many steps."""
        steps = STEPS - WARM_UP
        return {
            "cpu": self.cpu / steps,
            "tokens_per_second": tokens * steps / steps_of_all / self.wall,
            "tokens_per_cpu_second": tokens * steps / steps_of_all / self.cpu,
            "loss": self.losses[-1],
        }


def _ours(directory: Path, checkpointing: bool, **further: Any) -> dict[str, Any]:
    """The trainer as it is, events and log included."""
    from transformers import Trainer

    from jobs.training.events import FILE_NAME, read_events

    meter = Meter()
    made = Trainer.__init__

    def noticed(self: Any, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self.add_callback(meter.callback)

    Trainer.__init__ = noticed  # type: ignore[method-assign]
    path = _train(directory, gradientCheckpointing=str(checkpointing), **further)
    (start,) = (event for event in read_events(path / FILE_NAME)[0] if event["type"] == "start")
    return meter.result(_tokens(directory), start["steps_per_epoch"])


def _packed(directory: Path, checkpointing: bool) -> dict[str, Any]:
    """Ours with short rows together in one of full length: fewer steps an epoch, each of more tokens."""
    return _ours(directory, checkpointing, packing="true", epoch=EPOCHS_PACKED)


def _train(directory: Path, **further: Any) -> Path:
    """One run of our trainer on the rows and the model of this bench; returns its directory."""
    import tempfile

    from jobs.training.__main__ import run
    from jobs.training.stopping import Stop

    path = Path(tempfile.mkdtemp(dir=directory))
    (path / "data").mkdir()
    (path / "data" / "train.jsonl").symlink_to(directory / "train.jsonl")
    values = {"epoch": 1, "batchSize": BATCH, "maxSeqLen": LENGTH, "learningRate": 1e-4, "packing": "false"}
    values |= {
        "warmupRatio": 0,
        "weightDecay": 0,
        "schedulerName": "constant",
        "loggingSteps": 1,
        "saveStep": 1000,
    }
    values |= {"validationStep": 0, "gradientAccumulationSteps": 1, "seed": 1, **further}
    spec = {
        "schema": 1,
        "run": "bench",
        "attempt": 1,
        "trainer": "text",
        "method": "FullFineTuning",
        "base": {"name": "bench", "path": str(directory / "model")},
        "data": {"train": "data/train.jsonl"},
        "hyperparameters": {key: {"value": value, "origin": "user"} for key, value in values.items()},
        "device": "cpu",
        "threads": 1,
    }
    (path / "spec.json").write_text(json.dumps(spec))
    assert run(path, Stop()) == 0
    return path


def _overhead(directory: Path, checkpointing: bool) -> dict[str, float]:
    """What events, metrics and checkpoints take of a run that has a metric at each step and a checkpoint at each 64th,
    of 128; processor seconds as shares of those between the first and the last step. Sample answers are left out.
    """
    from transformers import Trainer

    from jobs.training import samples
    from jobs.training.callbacks import Report
    from jobs.training.events import EventWriter

    spent: dict[str, float] = {}
    within: list[str] = []

    def measure(owner: Any, method: str, name: str) -> None:
        original = getattr(owner, method)

        def measured(*args: Any, **options: Any) -> Any:
            began, is_outer = time.process_time(), not within
            within.append(name)
            try:
                return original(*args, **options)
            finally:
                within.pop()
                if is_outer:  # an event that a checkpoint writes belongs to the checkpoint
                    spent[name] = spent.get(name, 0.0) + time.process_time() - began

        setattr(owner, method, measured)

    samples.PROMPTS = 0
    measure(EventWriter, "write", "events")
    measure(Report, "on_step_end", "metrics")
    measure(Report, "on_log", "metrics")
    measure(Trainer, "_save_checkpoint", "checkpoints")
    measure(Report, "on_save", "checkpoints")
    began = [0.0]
    train_begin, train_end = Report.on_train_begin, Report.on_train_end

    def begin(*args: Any, **options: Any) -> None:
        train_begin(*args, **options)
        spent.clear()
        began[0] = time.process_time()

    def end(*args: Any, **options: Any) -> None:
        spent["all"] = time.process_time() - began[0]
        train_end(*args, **options)

    Report.on_train_begin, Report.on_train_end = begin, end  # type: ignore[method-assign]
    _train(directory, epoch=8, saveStep=64, gradientCheckpointing=str(checkpointing))
    total = spent.pop("all")
    return {name: seconds / total for name, seconds in spent.items()}


def _rows(directory: Path) -> list[dict[str, list[int]]]:
    from transformers import AutoTokenizer

    from jobs.training.data import prepare

    tokenizer = AutoTokenizer.from_pretrained(directory / "model")
    prepared = prepare(directory / "train.jsonl", tokenizer, LENGTH)
    return [{"input_ids": list(row.input_ids), "labels": list(row.labels)} for row in prepared.rows]


def _tokens(directory: Path) -> int:
    return sum(len(row["input_ids"]) for row in _rows(directory))


def _options(directory: Path, checkpointing: bool) -> dict[str, Any]:
    return {
        "output_dir": str(directory / "peer"),
        "num_train_epochs": 1,
        "per_device_train_batch_size": BATCH,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "seed": 1,
        "data_seed": 1,
        "use_cpu": True,
        "bf16": False,
        "activation_checkpointing": checkpointing,
        "report_to": [],
        "disable_tqdm": True,
    }


def _transformers(directory: Path, checkpointing: bool) -> dict[str, Any]:
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Trainer,
        TrainingArguments,
    )

    from datasets import Dataset  # type: ignore[attr-defined]

    meter = Meter()
    Trainer(
        model=AutoModelForCausalLM.from_pretrained(directory / "model"),
        args=TrainingArguments(**_options(directory, checkpointing)),
        train_dataset=Dataset.from_list(_rows(directory)),
        data_collator=DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(directory / "model")),
        callbacks=[meter.callback],
    ).train()
    return meter.result(_tokens(directory))


def _trl(directory: Path, checkpointing: bool) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from datasets import Dataset  # type: ignore[attr-defined]

    meter = Meter()
    SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(directory / "model"),
        args=SFTConfig(**_options(directory, checkpointing), max_length=LENGTH),
        train_dataset=Dataset.from_list(_rows(directory)),
        processing_class=AutoTokenizer.from_pretrained(directory / "model"),
        callbacks=[meter.callback],
    ).train()
    return meter.result(_tokens(directory))


def _llamafactory(directory: Path, checkpointing: bool) -> dict[str, Any]:
    """LLaMA-Factory's own command line, in its own environment. The processor time is that of its process between
    two lengths of training, so that loading falls out.
    """
    messages = [json.loads(line)["messages"] for line in (directory / "train.jsonl").open()]
    (directory / "lf.json").write_text(json.dumps([{"messages": row} for row in messages]))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    info = {
        "file_name": "lf.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": tags,
    }
    (directory / "dataset_info.json").write_text(json.dumps({"bench": info}))
    used, logs = {}, []
    for steps in (WARM_UP, STEPS):
        options = {
            "model_name_or_path": str(directory / "model"),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "full",
            "dataset": "bench",
            "dataset_dir": str(directory),
            "template": "default",
            "cutoff_len": LENGTH,
            "output_dir": str(directory / f"lf-{steps}"),
            "overwrite_output_dir": True,
            "max_steps": steps,
            "per_device_train_batch_size": BATCH,
            "learning_rate": 1e-4,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "disable_gradient_checkpointing": not checkpointing,
        }
        (directory / "lf.yaml").write_text(json.dumps(options))
        before, began = os.times(), time.monotonic()
        command = [os.environ["LLAMAFACTORY"], "train", str(directory / "lf.yaml")]
        subprocess.run(
            command, check=True, capture_output=True, env={**os.environ, "DISABLE_VERSION_CHECK": "1"}
        )
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        used[steps] = cpu, time.monotonic() - began
        logs = [json.loads(line) for line in (directory / f"lf-{steps}" / "trainer_log.jsonl").open()]
    cpu, wall = (used[STEPS][index] - used[WARM_UP][index] for index in (0, 1))
    losses = [entry["loss"] for entry in logs if "loss" in entry]
    steps = STEPS - WARM_UP
    return {
        "cpu": cpu / steps,
        "tokens_per_second": _tokens(directory) * steps / STEPS / wall,
        "tokens_per_cpu_second": _tokens(directory) * steps / STEPS / cpu,
        "loss": losses[-1],
    }


FOUND = {
    "model": _model,
    "ours": _ours,
    "packed": _packed,
    "overhead": _overhead,
    "transformers": _transformers,
    "trl": _trl,
    "llamafactory": _llamafactory,
}

if __name__ == "__main__":
    main()
