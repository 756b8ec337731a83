"""Supervised fine-tuning of a causal language model on conversations. Read `train` from top to bottom."""

import tempfile
import time
from pathlib import Path
from uuid import uuid4

import torch
from peft import LoraConfig, get_peft_model
from transformers import PrinterCallback, set_seed
from trl import SFTConfig, pack_dataset

from datasets import Dataset  # type: ignore[attr-defined]  # the library, not the app
from jobs.training.callbacks import EarlyStopping, Origin, Report, StopOnRequest
from jobs.training.checkpoints import (
    list_checkpoints,
    remove_incomplete,
    size_of,
    step_of,
)
from jobs.training.device import TINY, Room, find_device
from jobs.training.events import EventWriter, TrainingFailure
from jobs.training.lora import keep_whole, lora_config
from jobs.training.outputs import save
from jobs.training.ranks import rank, world_size
from jobs.training.reports import last_values, report_checkpoints, report_rows, report_start
from jobs.training.resolve import (
    Resolved,
    batch_rule,
    count_steps,
    limit_length,
    schedule,
    share_batch,
    wants_packing,
)
from jobs.training.resuming import train_from
from jobs.training.samples import WriteSamples, choose_prompts, text_inputs
from jobs.training.sft import TextTrainer, packs_cleanly
from jobs.training.sharding import said_by_first, sharding_arguments
from jobs.training.spec import Spec
from jobs.training.stopping import Stop
from jobs.training.token_cache import prepare
from jobs.training.token_rows import Tokenised
from jobs.training.trainers import FULL, QLORA, scale_of
from jobs.training.weight_files import check_weights
from jobs.training.weights import load_empty, load_model, load_tokenizer, where_training_stands


def train(spec: Spec, run_dir: Path, events: EventWriter, stop: Stop) -> None:
    """One run, from its directory to `output/`. Raises TrainingFailure, and StopRequestedError between phases."""
    began = time.monotonic()
    values = Resolved(spec.method, spec.hyperparameters)
    has_adapter = scale_of(spec.method) != FULL
    checkpoints = run_dir / "checkpoints"
    remove_incomplete(checkpoints)
    resume = next(reversed(list_checkpoints(checkpoints)), None)

    # Device and numbers: float32 on a CPU. On a GPU full training keeps float32 weights under bfloat16
    # autocast, because bfloat16 weights swallow small updates; with LoRA the frozen base can be bfloat16.
    device = find_device(spec.device)
    dtype = torch.bfloat16 if device == "cuda" and has_adapter else torch.float32
    if spec.threads:
        torch.set_num_threads(spec.threads)
    set_seed(values["seed"])

    # Tokenizer and weights
    events.write("phase", name="loading_weights")
    check_weights(Path(spec.base.path))
    room = Room(Path(spec.base.path), spec.method, values, device)
    room.require(1, loaded=False)
    tokenizer = load_tokenizer(spec.base)
    stand = where_training_stands(spec.base, resume, is_full=not has_adapter)
    may_be_shared = room.will_be_shared()
    is_empty = may_be_shared and rank() > 0
    if is_empty:  # the weights are rank 0's alone, until each gets its share of them
        model = load_empty(stand, dtype)
    else:
        model = load_model(stand, dtype, device=device, in_four_bits=scale_of(spec.method) == QLORA)
    stop.check()
    if spec.threads is None and device == "cpu" and model.num_parameters() < TINY:
        torch.set_num_threads(1)

    # Rows
    events.write("phase", name="preparing_data")
    limit_length(values, model, events)
    rows = prepare(
        run_dir / spec.data.train,
        tokenizer,
        values["maxSeqLen"],
        join_probability=values["pseudoSamplingProb"],
        seed=values["seed"],
        between_blocks=stop.check,
    )
    eval_rows, evaluates = Tokenised(), False
    if spec.data.eval is not None and values["validationStep"] > 0:
        eval_rows = prepare(
            run_dir / spec.data.eval, tokenizer, values["maxSeqLen"], between_blocks=stop.check
        )
        evaluates = bool(eval_rows.rows)
    report_rows(events, rows, eval_rows)
    if not rows.rows:
        raise TrainingFailure(
            "no_rows_left",
            "The training data hold no row with a reply to learn from.",
            dropped_rows=rows.dropped_rows,
        )
    dataset = _dataset(rows)
    is_packed = wants_packing(values, rows)
    if is_packed and may_be_shared:
        can_pack = said_by_first(packs_cleanly(model, rows) if rank() == 0 else None, device)
    else:
        can_pack = not is_packed or packs_cleanly(model, rows)
    if not can_pack:
        events.warn(
            "packing_not_supported",
            f"{type(model).__name__} lets packed rows see each other, so packing is off.",
            model=type(model).__name__,
        )
        is_packed = False
    values.decide("packing", "true" if is_packed else "false")
    if is_packed:
        dataset = pack(dataset, values["maxSeqLen"], run_dir)
    longest = values["maxSeqLen"] if is_packed else rows.longest()
    batch_rule(values, len(dataset), longest)
    share_batch(values, world_size())
    is_sharded = room.decide(longest)
    room.require(longest, loaded=True, is_sharded=is_sharded)
    if is_empty and not is_sharded:
        model = load_model(stand, dtype, device=device)

    # Method
    if has_adapter:
        config: LoraConfig = lora_config(model, values, events)
        model = get_peft_model(model, config)

    # Arguments
    checkpointing = values["gradientCheckpointing"] == "True"
    # Packed rows of a batch would be laid end to end, and without a kernel for it attention takes the square of that:
    # on a CPU they pass one by one, which is the same step with the same loss.
    batch = values["batchSize"] // world_size()
    in_a_pass = 1 if is_packed and device == "cpu" else batch
    arguments = SFTConfig(
        output_dir=str(checkpoints),
        num_train_epochs=values["epoch"],
        per_device_train_batch_size=in_a_pass,
        per_device_eval_batch_size=batch,
        gradient_accumulation_steps=values["gradientAccumulationSteps"] * (batch // in_a_pass),
        learning_rate=values["learningRate"],
        weight_decay=values["weightDecay"],
        warmup_steps=float(values["warmupRatio"]),  # below 1 it is a share of all steps
        **schedule(values),
        seed=values["seed"],
        data_seed=values["seed"],
        logging_steps=values["loggingSteps"],
        logging_nan_inf_filter=False,  # a loss that is not finite must be seen
        eval_strategy="steps" if evaluates else "no",
        eval_steps=values["validationStep"] if evaluates else None,
        save_strategy="steps",
        save_steps=values["saveStep"],
        save_total_limit=values["checkpointCount"],
        max_length=values["maxSeqLen"],
        packing=is_packed,
        eval_packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},  # rows come tokenised and short enough
        use_cpu=device == "cpu",
        bf16=device == "cuda",
        dataloader_pin_memory=device == "cuda",
        report_to=[],
        disable_tqdm=True,
        **(
            {"activation_checkpointing": checkpointing}
            if not is_sharded
            else sharding_arguments(checkpointing)
        ),
    )

    # Callbacks
    resumed_from = step_of(resume) if resume else 0
    report = Report(events, run_dir, resumed_from)
    report.last_values = last_values(run_dir, resumed_from)
    asked_from = spec.data.eval if eval_rows.rows and spec.data.eval else spec.data.train
    prompts = choose_prompts(run_dir / asked_from, tokenizer, values["maxSeqLen"])
    samples = WriteSamples(prompts, tokenizer, text_inputs(tokenizer), report, stop)
    callbacks = [StopOnRequest(stop), Origin(), report, samples]
    early = None
    if values["earlyStopping"] == "True":
        early = EarlyStopping(
            values["earlyStopMetric"], values["earlyStoppingThreshold"], values["earlyStoppingPatience"]
        )
        callbacks.append(early)
    trainer = TextTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=_dataset(eval_rows) if evaluates else None,
        processing_class=tokenizer,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    keep_whole(trainer.model)

    # Train
    total_steps, steps_per_epoch = count_steps(values, len(dataset))
    report_start(
        spec, values, events, model, device, resume, total_steps, steps_per_epoch, is_sharded=is_sharded
    )
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
    whole = trainer.whole_state()
    if rank() > 0:
        return
    events.write("phase", name="saving")
    output = run_dir / "output"
    save(trainer.model, tokenizer, output, whole)
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


def _dataset(prepared: Tokenised) -> Dataset:
    # With a name of its own: otherwise all rows would be read to make one up.
    return Dataset(prepared.rows.table, fingerprint=uuid4().hex)


def pack(dataset: Dataset, length: int, run_dir: Path) -> Dataset:
    """The rows packed into sequences of up to `length` tokens, in a file that goes with the last use of it."""
    with tempfile.TemporaryDirectory(prefix="packing-", dir=run_dir) as directory:
        file = {"cache_file_name": str(Path(directory) / "rows.arrow")}
        return pack_dataset(dataset, length, "bfd", map_kwargs=file)
