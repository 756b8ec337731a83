"""Training on preferences: what DPO, KTO and reward models have in common. Read `align` from top to bottom.

Checkpoints, resuming, stopping, events and metrics are those of supervised fine-tuning (text.py).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PrinterCallback, set_seed

from datasets import Dataset  # type: ignore[attr-defined]  # the library, not the app
from jobs.training.callbacks import EarlyStopping, Origin, Report, StopOnRequest
from jobs.training.checkpoints import list_checkpoints, remove_incomplete, size_of, step_of
from jobs.training.device import TINY, Room, find_device
from jobs.training.events import EventWriter, TrainingFailure
from jobs.training.lora import keep_whole, lora_config
from jobs.training.outputs import save
from jobs.training.preferences import Example, Examples, PreparedExamples, Question, prepare
from jobs.training.ranks import rank, world_size
from jobs.training.reports import last_values, report_checkpoints, report_rows, report_start
from jobs.training.resolve import (
    Resolved,
    batch_rule,
    count_steps,
    limit_length,
    schedule,
    share_batch,
)
from jobs.training.resuming import train_from
from jobs.training.samples import WriteSamples, choose_prompts, text_inputs
from jobs.training.spec import Spec
from jobs.training.stopping import Stop
from jobs.training.trainers import FULL, QLORA, scale_of
from jobs.training.weight_files import check_weights
from jobs.training.weights import LoadedBefore, load_model, load_tokenizer, where_training_stands


@dataclass(frozen=True)
class Kind:
    """One way to train on preferences.

    `examples` and `columns` make rows of a file into rows of the trainer, `arrange` says in which order and company
    they stand, `arguments` what the mode's own hyperparameters are to TRL. A row is so many `sequences` to the model.
    `smallest_batch` is the fewest rows that a device can learn from. With `has_reference` the model before the run is
    asked as well.
    """

    row: type[Question]
    examples: Examples
    columns: Callable[[Example], dict[str, Any]]
    trainer: Any
    config: Any
    arguments: Callable[[Resolved], dict[str, Any]]
    sequences: int
    model: Any = AutoModelForCausalLM
    arrange: Callable[[list[dict[str, Any]], Resolved], list[dict[str, Any]]] = lambda rows, values: rows
    smallest_batch: int = 1
    has_reference: bool = True


class Aligned(LoadedBefore):
    """Before a trainer of TRL: rows come tokenised and short enough, and checkpoints get no README."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """They are not published from here."""


def align(spec: Spec, run_dir: Path, events: EventWriter, stop: Stop, kind: Kind) -> None:
    """One run, from its directory to `output/`. Raises TrainingFailure, and StopRequestedError between phases."""
    began = time.monotonic()
    values = Resolved(spec.method, spec.hyperparameters)
    has_adapter = scale_of(spec.method) != FULL
    weights = Path(spec.base.path)
    checkpoints = run_dir / "checkpoints"
    remove_incomplete(checkpoints)
    resume = next(reversed(list_checkpoints(checkpoints)), None)

    # Device and numbers, as in supervised fine-tuning. Without an adapter to switch off, the model as it was before
    # the run stands beside the one that is trained.
    device = find_device(spec.device)
    dtype = torch.bfloat16 if device == "cuda" and has_adapter else torch.float32
    references = int(kind.has_reference and not has_adapter)
    if spec.threads:
        torch.set_num_threads(spec.threads)
    set_seed(values["seed"])

    # Tokenizer and weights
    events.write("phase", name="loading_weights")
    check_weights(weights)
    room = Room(weights, spec.method, values, device, kind.sequences, references, can_shard=False)
    room.require(1, loaded=False)
    tokenizer = load_tokenizer(spec.base)
    stand = where_training_stands(spec.base, resume, is_full=not has_adapter)
    in_four_bits = scale_of(spec.method) == QLORA
    model = load_model(stand, dtype, kind.model, device=device, in_four_bits=in_four_bits)
    stop.check()
    if spec.threads is None and device == "cpu" and model.num_parameters() < TINY:
        torch.set_num_threads(1)

    # Rows
    events.write("phase", name="preparing_data")
    limit_length(values, model, events)

    def read(name: str) -> PreparedExamples:
        return prepare(
            run_dir / name, tokenizer, values["maxSeqLen"], kind.row, kind.examples, between_blocks=stop.check
        )

    rows = read(spec.data.train)
    eval_rows = PreparedExamples()
    if spec.data.eval is not None and values["validationStep"] > 0:
        eval_rows = read(spec.data.eval)
    report_rows(events, rows, eval_rows)
    if not rows.rows:
        raise TrainingFailure(
            "no_rows_left",
            "The training data hold no row with a reply to learn from.",
            dropped_rows=rows.dropped_rows,
        )
    batch_rule(values, len(rows.rows), rows.longest() * kind.sequences)
    smallest = kind.smallest_batch * world_size()
    values.decide("batchSize", max(values["batchSize"], smallest))
    share_batch(values, world_size())
    room.decide(rows.longest())
    values.decide("batchSize", max(values["batchSize"], smallest))
    room.require(rows.longest(), loaded=True)
    dataset = _dataset(rows, kind, values)
    eval_dataset = _dataset(eval_rows, kind, values) if eval_rows.rows else None

    # Arguments
    config = kind.config(
        output_dir=str(checkpoints),
        num_train_epochs=values["epoch"],
        per_device_train_batch_size=values["batchSize"] // world_size(),
        per_device_eval_batch_size=values["batchSize"] // world_size(),
        gradient_accumulation_steps=values["gradientAccumulationSteps"],
        learning_rate=values["learningRate"],
        weight_decay=values["weightDecay"],
        warmup_steps=float(values["warmupRatio"]),  # below 1 it is a share of all steps
        **schedule(values),
        seed=values["seed"],
        data_seed=values["seed"],
        logging_steps=values["loggingSteps"],
        logging_nan_inf_filter=False,  # a loss that is not finite must be seen
        eval_strategy="steps" if eval_dataset else "no",
        eval_steps=values["validationStep"] if eval_dataset else None,
        save_strategy="steps",
        save_steps=values["saveStep"],
        save_total_limit=values["checkpointCount"],
        max_length=None,
        use_cpu=device == "cpu",
        bf16=device == "cuda",
        gradient_checkpointing=values["gradientCheckpointing"] == "True",
        dataloader_pin_memory=device == "cuda",
        report_to=[],
        disable_tqdm=True,
        **kind.arguments(values),
    )

    # Callbacks
    resumed_from = step_of(resume) if resume else 0
    report = Report(events, run_dir, resumed_from, has_perplexity=False)
    report.last_values = last_values(run_dir, resumed_from)
    callbacks = [StopOnRequest(stop), Origin(), report]
    if kind.model is AutoModelForCausalLM:
        asked_from = spec.data.eval if eval_rows.rows and spec.data.eval else spec.data.train
        prompts = choose_prompts(
            run_dir / asked_from, tokenizer, values["maxSeqLen"], kind.row, kind.row.answered
        )
        callbacks.append(WriteSamples(prompts, tokenizer, text_inputs(tokenizer), report, stop))
    early = None
    if values["earlyStopping"] == "True":
        early = EarlyStopping(
            values["earlyStopMetric"], values["earlyStoppingThreshold"], values["earlyStoppingPatience"]
        )
        callbacks.append(early)
    beside: dict[str, Any] = {"peft_config": lora_config(model, values, events)} if has_adapter else {}
    if references:
        beside["ref_model"] = load_model(spec.base, dtype)
    trainer = kind.trainer(
        model=model,
        args=config,
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        processing_class=tokenizer,
        callbacks=callbacks,
        **beside,
    )
    trainer.remove_callback(PrinterCallback)
    keep_whole(trainer.model)

    # Train
    total_steps, steps_per_epoch = count_steps(values, len(dataset))
    report_start(spec, values, events, trainer.model, device, resume, total_steps, steps_per_epoch)
    report_checkpoints(events, run_dir, report.last_values)
    stop.check()
    events.write("phase", name="training")
    early_stopped = train_from(trainer, resume, early, total_steps)
    step = trainer.state.global_step
    if step < total_steps and not early_stopped:
        print(f"stopped at step {step}", flush=True)
        events.write("stopped", step=step, checkpoint=step)
        return

    # Save
    if rank() > 0:
        return
    events.write("phase", name="saving")
    output = run_dir / "output"
    save(trainer.model, tokenizer, output)
    events.write(
        "done",
        step=step,
        metrics=report.last_values,
        output="output",
        bytes=size_of(output),
        seconds=round(time.monotonic() - began, 1),
        early_stopped=early_stopped,
        timing=report.as_timing(),
    )
    print(f"done: {step} steps, {time.monotonic() - began:.1f} s", flush=True)


def _dataset(prepared: PreparedExamples, kind: Kind, values: Resolved) -> Dataset:
    return Dataset.from_list(kind.arrange([kind.columns(example) for example in prepared.rows], values))
