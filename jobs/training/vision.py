"""Supervised fine-tuning of a model that answers about a picture. Read `train` from top to bottom."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)
from trl import SFTConfig

from datasets import Dataset  # type: ignore[attr-defined]
from jobs.training.callbacks import EarlyStopping, Origin, Report, StopOnRequest
from jobs.training.chat import NEUTRAL_TEMPLATE
from jobs.training.checkpoints import (
    SHARD_SIZE,
    list_checkpoints,
    remove_incomplete,
    size_of,
    step_of,
)
from jobs.training.device import TINY, Room, find_device
from jobs.training.events import EventWriter, TrainingFailure
from jobs.training.lora import lora_config
from jobs.training.picture_rows import (
    PreparedPictures,
    choose_picture_prompts,
    make_collator,
    picture_inputs,
    prepare_pictures,
    save_thumbnails,
)
from jobs.training.ranks import rank, world_size
from jobs.training.reports import last_values, report_checkpoints, report_rows, report_start
from jobs.training.resolve import Resolved, batch_rule, count_steps, schedule, share_batch
from jobs.training.resuming import train_from
from jobs.training.samples import WriteSamples
from jobs.training.sft import TextTrainer
from jobs.training.spec import Base, Spec
from jobs.training.stopping import Stop
from jobs.training.weight_files import check_weights, missing
from jobs.training.weights import load_model, where_training_stands

NOT_FOR_PICTURES = ("packing", "pseudoSamplingProb")
# LLaVA-v1.6 was trained at 1e-5, its vision tower at 2e-6: what a model sees should change slowly.
TOWER_SHARE = 0.2


class VisionTrainer(TextTrainer):
    """The text trainer, with a lower learning rate for the vision tower."""

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(*args, **kwargs)
        tower = {id(p) for name, p in self.model.named_parameters() if ".vision_tower." in name}
        for group in list(optimizer.param_groups):
            slow = [parameter for parameter in group["params"] if id(parameter) in tower]
            if slow:
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in tower]
                optimizer.add_param_group({**group, "params": slow, "lr": group["lr"] * TOWER_SHARE})
        return optimizer


def train(spec: Spec, run_dir: Path, events: EventWriter, stop: Stop) -> None:
    """One run from its directory to `output/`. Raises TrainingFailure, or StopRequestedError before the first
    step.
    """
    began = time.monotonic()
    values = Resolved(spec.method, spec.hyperparameters, without=NOT_FOR_PICTURES)
    is_lora = spec.method == "LoRA"
    checkpoints = run_dir / "checkpoints"
    remove_incomplete(checkpoints)
    resume = next(reversed(list_checkpoints(checkpoints)), None)

    # Device and numbers: float32 on a CPU. On a GPU full training keeps float32 weights under bfloat16
    # autocast, because bfloat16 weights swallow small updates; with LoRA the frozen base can be bfloat16.
    device = find_device(spec.device)
    dtype = torch.bfloat16 if device == "cuda" and is_lora else torch.float32
    if spec.threads:
        torch.set_num_threads(spec.threads)
    set_seed(values["seed"])

    # Processor and weights
    events.write("phase", name="loading_weights")
    check_weights(Path(spec.base.path))
    _check_architecture(Path(spec.base.path))
    room = Room(Path(spec.base.path), spec.method, values, device, can_shard=False)
    room.require(1, loaded=False)
    stand = where_training_stands(spec.base, resume, is_full=not is_lora)
    model = load_model(stand, dtype, AutoModelForImageTextToText)
    processor = _load_processor(spec.base, model.config)
    stop.check()
    if spec.threads is None and device == "cpu" and model.num_parameters() < TINY:
        torch.set_num_threads(1)

    # Rows
    events.write("phase", name="preparing_data")
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if limit and values["maxSeqLen"] > limit:
        events.warn(
            "sequence_length_reduced",
            f"The base model reads at most {limit} tokens, so maxSeqLen is {limit} and not {values['maxSeqLen']}.",
            limit=limit,
            asked=values["maxSeqLen"],
        )
        values.decide("maxSeqLen", limit)
    files = {"train": run_dir / spec.data.train, "eval": run_dir / (spec.data.eval or "")}
    rows = prepare_pictures(files["train"], processor, values["maxSeqLen"], between_rows=stop.check)
    evaluates = spec.data.eval is not None and values["validationStep"] > 0
    eval_rows = PreparedPictures()
    if evaluates:
        eval_rows = prepare_pictures(files["eval"], processor, values["maxSeqLen"], between_rows=stop.check)
        evaluates = bool(eval_rows.rows)
    report_rows(events, rows, eval_rows)
    _report_too_long(events, rows, eval_rows, values["maxSeqLen"])
    if not rows.rows:
        reason = "no row with a reply to learn from"
        if rows.too_long:
            reason = f"no row that fits: the shortest has {rows.shortest_refused} tokens with its picture"
        raise TrainingFailure(
            "no_rows_left", f"The training data hold {reason}.", dropped_rows=rows.dropped_rows
        )
    dataset = _dataset(rows, "train")
    batch_rule(values, len(dataset), rows.longest())
    share_batch(values, world_size())
    room.decide(rows.longest())
    room.require(rows.longest(), loaded=True)

    # Method
    if is_lora:
        if not values.is_given("loraAllLinear") and not values.is_given("loraTargetModules"):
            values.decide("loraAllLinear", "True")  # LLaVA's own recipe
        config = lora_config(model.model.language_model, values, events)
        # The vision tower has layers of the same names; bare names would reach them too.
        config.target_modules = rf".*\.language_model\..*\.({'|'.join(config.target_modules)})"
        model = get_peft_model(model, config)

    # Arguments
    arguments = SFTConfig(
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
        eval_strategy="steps" if evaluates else "no",
        eval_steps=values["validationStep"] if evaluates else None,
        save_strategy="steps",
        save_steps=values["saveStep"],
        save_total_limit=values["checkpointCount"],
        max_length=None,  # a cut would go through the picture
        dataset_kwargs={"skip_prepare_dataset": True},  # rows come tokenised and short enough
        remove_unused_columns=False,
        use_cpu=device == "cpu",
        bf16=device == "cuda",
        activation_checkpointing=values["gradientCheckpointing"] == "True",
        dataloader_pin_memory=device == "cuda",
        report_to=[],
        disable_tqdm=True,
    )

    # Callbacks
    resumed_from = step_of(resume) if resume else 0
    report = Report(events, run_dir, resumed_from)
    report.last_values = last_values(run_dir, resumed_from)
    asked_from = files["eval" if evaluates else "train"]
    prompts = choose_picture_prompts(asked_from, processor, values["maxSeqLen"])
    samples = WriteSamples(
        prompts,
        processor.tokenizer,
        picture_inputs(processor, asked_from),
        report,
        stop,
        save_thumbnails(run_dir, asked_from, prompts),
    )
    callbacks: list[TrainerCallback] = [StopOnRequest(stop), Origin(), report, samples]
    early = None
    if values["earlyStopping"] == "True":
        early = EarlyStopping(
            values["earlyStopMetric"], values["earlyStoppingThreshold"], values["earlyStoppingPatience"]
        )
        callbacks.append(early)
    trainer = VisionTrainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=_dataset(eval_rows, "eval") if evaluates else None,
        data_collator=make_collator(processor, files),
        processing_class=processor,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)

    # Train
    total_steps, steps_per_epoch = count_steps(values, len(dataset))
    report_start(spec, values, events, model, device, resume, total_steps, steps_per_epoch)
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
    _save(trainer.model, processor, output)
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


def _check_architecture(path: Path) -> None:
    """Only what was tried: other architectures put pictures into their texts in other ways."""
    found = json.loads((path / "config.json").read_text()).get("model_type")
    if found != "llava_next":
        raise missing(path, f"it is a {found}, and only llava_next can be trained on pictures")


def _load_processor(base: Base, config: Any) -> Any:
    """The processor, with a padding token and with what older directories leave to the model's configuration."""
    path = Path(base.path)
    try:
        processor = AutoProcessor.from_pretrained(
            path, local_files_only=True, trust_remote_code=base.trust_remote_code
        )
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise missing(path, f"its processor does not load ({reason})", "no_tokenizer") from error
    if processor.patch_size is None:
        processor.patch_size = config.vision_config.patch_size
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        processor.num_additional_image_tokens = 1  # CLIP's summary, which "default" takes away again
    tokenizer = processor.tokenizer
    if not tokenizer.is_fast:
        raise missing(
            path, "its tokenizer has no tokenizer.json, which is needed to find the replies in a text"
        )
    if tokenizer.eos_token is None:
        raise missing(path, "its tokenizer names no end-of-text token (eos_token)")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked and never in the loss
    if processor.chat_template is None:
        processor.chat_template = tokenizer.chat_template or NEUTRAL_TEMPLATE
    return processor


def _dataset(prepared: PreparedPictures, file: str) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [list(row.input_ids) for row in prepared.rows],
            "labels": [list(row.labels) for row in prepared.rows],
            "file": [file] * len(prepared.rows),
            "picture": [row.image for row in prepared.rows],
            "line": [row.line for row in prepared.rows],
        }
    )


def _report_too_long(
    events: EventWriter, rows: PreparedPictures, eval_rows: PreparedPictures, limit: int
) -> None:
    if count := rows.too_long + eval_rows.too_long:
        events.warn(
            "rows_too_long",
            f"{count} rows have more than {limit} tokens with their picture and were left out.",
            rows=count,
            limit=limit,
        )


def _save(model: Any, processor: Any, output: Path) -> None:
    """Write `output/` in one step, so that it is whole whenever it exists."""
    temporary = output.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    model.config.use_cache = True
    model.save_pretrained(temporary, max_shard_size=SHARD_SIZE)
    processor.save_pretrained(temporary)
    (temporary / "README.md").unlink(missing_ok=True)  # peft's form for a model card, not filled in
    shutil.rmtree(output, ignore_errors=True)
    temporary.rename(output)
