"""Training of a text-to-image pipeline on captioned pictures. Read `train` from top to bottom."""

import random
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from jobs.training.callbacks import EarlyStopping, Origin, Report, StopOnRequest
from jobs.training.checkpoints import list_checkpoints, remove_incomplete, size_of, step_of
from jobs.training.device import TINY, find_device
from jobs.training.diffusion import Encoded, Family, check_pipeline, find_family
from jobs.training.events import EventWriter, TrainingFailure
from jobs.training.pictures import Caption, open_picture, read_captions
from jobs.training.ranks import rank, world_size
from jobs.training.reports import last_values, report_checkpoints, report_start
from jobs.training.resolve import (
    TOKENS_PER_PASS,
    Resolved,
    batch_rule,
    count_steps,
    schedule,
    share_batch,
)
from jobs.training.resuming import train_from
from jobs.training.spec import Spec
from jobs.training.stopping import Stop

NOT_FOR_PICTURES = ("maxSeqLen", "packing", "pseudoSamplingProb", "loraAllLinear", "loraTargetModules")
PICTURES_PER_PASS = 8  # in a batch of our own choice
SAMPLES = 2  # prompts that are drawn at every checkpoint
SAMPLE_STEPS = {"cuda": 25, "cpu": 8}  # a large model on a CPU takes minutes for a step
REPORT_SECONDS = 10  # between two lines about the encoding of pictures


class Step(nn.Module):
    """The trained network as transformers' Trainer wants a model: rows in, loss out.

    The rest of the pipeline hangs on `family`, which is no module, so it is neither moved, saved nor trained.
    """

    _keys_to_ignore_on_save = None  # the Trainer asks every model for it
    step = 0  # how many were made; set by the trainer

    def __init__(self, family: Family, seed: int) -> None:
        super().__init__()
        self.family, self.seed = family, seed
        self.network = family.network

    def forward(
        self, keys: torch.Tensor, batch: Encoded, return_loss: bool = True
    ) -> dict[str, torch.Tensor]:
        # `return_loss` in the signature makes the Trainer report eval_loss. Each row of the evaluation set
        # meets the same noise every time: otherwise that, not the learning, would make most of a difference.
        # In training it is another one at each step, by the row and not by its place in a batch or on a device.
        seeds = [self.seed + key for key in keys.tolist()]
        if self.training:
            seeds = [random.Random(f"{seed}:{self.step}").getrandbits(63) for seed in seeds]  # noqa: S311
        return {"loss": self.family.loss(batch, [torch.Generator().manual_seed(seed) for seed in seeds])}

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Only what is trained: with LoRA the base stays out of the checkpoints."""
        trained = {f"network.{name}" for name, p in self.network.named_parameters() if p.requires_grad}
        return {key: value for key, value in super().state_dict(*args, **kwargs).items() if key in trained}


class EncodedRows(Dataset):
    """Rows as files of tensors, so that memory holds one batch of them and not all."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, Encoded]:
        return index, load_file(self.paths[index])


class ImageTrainer(Trainer):
    """transformers' trainer, which also counts the pictures."""

    pictures = 0

    def training_step(self, model: Any, inputs: dict, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.pictures += len(inputs["keys"]) * self.accelerator.num_processes
        self.model.step = self.state.global_step
        return super().training_step(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        super().log(logs | {"num_samples": self.pictures}, *args, **kwargs)


class DrawSamples(TrainerCallback):
    """Draws the same prompts with the same noise before training and at every checkpoint, to show what it learns."""

    def __init__(self, family: Family, prompts: list[str], report: Report, stop: Stop, seed: int) -> None:
        self.family, self.report, self.stop, self.seed = family, report, stop, seed
        self.prompts = [(prompt, family.encode_prompt(prompt)) for prompt in prompts]
        self.empty = family.encode_nothing()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step == 0:
            self._draw_all(state)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._draw_all(state)

    def _draw_all(self, state: TrainerState) -> None:
        if self.stop.requested or rank() > 0:
            return
        network = self.family.network
        network.eval()
        try:
            # Drawing takes nothing from the random numbers of training, and can be left out or repeated.
            with self.report.timed("samples"), torch.random.fork_rng():
                for number, (prompt, encoded) in enumerate(self.prompts, start=1):
                    self._draw(state.global_step, number, prompt, encoded)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self.report.events.warn(
                "samples_left_out",
                f"The memory was not enough to draw samples at step {state.global_step}.",
                step=state.global_step,
            )
        network.train()

    def _draw(self, step: int, number: int, prompt: str, encoded: Encoded) -> None:
        steps = SAMPLE_STEPS[self.family.device]
        picture = self.family.draw(encoded, self.empty, steps, self.seed + number)
        name = f"samples/step-{step}-{number}.png"
        path = self.report.run_dir / name
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
        self.report.events.write("sample", step=step, kind="image", prompt=prompt, path=name)


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
    frozen = torch.bfloat16 if device == "cuda" else torch.float32
    dtype = torch.bfloat16 if device == "cuda" and is_lora else torch.float32
    if spec.threads:
        torch.set_num_threads(spec.threads)
    set_seed(values["seed"])

    # Weights
    events.write("phase", name="loading_weights")
    path = Path(spec.base.path)
    family_class = find_family(path)
    check_pipeline(path, family_class)
    family = family_class(path, frozen, dtype, device)
    network = family.network
    stop.check()
    if spec.threads is None and device == "cpu" and network.num_parameters() < TINY:
        torch.set_num_threads(1)

    # Rows
    events.write("phase", name="preparing_data")
    train_file, eval_file = run_dir / spec.data.train, run_dir / (spec.data.eval or "")
    captions = read_captions(train_file)
    eval_captions = read_captions(eval_file) if spec.data.eval else []
    evaluates = bool(eval_captions) and values["validationStep"] > 0
    if not captions:
        raise TrainingFailure(
            "no_rows_left", "The training data hold no picture with a prompt.", dropped_rows=0
        )
    encoded = run_dir / "encoded"
    rows = _encode(family, captions, train_file, encoded, stop)
    eval_rows = _encode(family, eval_captions if evaluates else [], eval_file, encoded, stop)
    _report_rows(events, family, captions, eval_captions if evaluates else [])
    batch_rule(values, len(rows), TOKENS_PER_PASS // PICTURES_PER_PASS)
    share_batch(values, world_size())
    resumed_from = step_of(resume) if resume else 0
    report = Report(events, run_dir, resumed_from, unit="samples")
    report.last_values = last_values(run_dir, resumed_from)
    prompts = list(dict.fromkeys(row.prompt for row in eval_captions or captions))[:SAMPLES]
    draw_samples = DrawSamples(family, prompts, report, stop, values["seed"])
    family.drop_text_encoders()

    # Method
    network.train()
    if is_lora:
        if values["loraAlpha"] is None:
            # Most programs that read picture adapters know no alpha and take it to be the rank.
            values.decide("loraAlpha", values["loraRank"])
        network.requires_grad_(False)
        network.add_adapter(
            LoraConfig(
                r=values["loraRank"],
                lora_alpha=values["loraAlpha"],
                lora_dropout=values["loraDropout"],
                target_modules=list(family.lora_layers),
            )
        )
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    if values["gradientCheckpointing"] == "auto":
        values.decide("gradientCheckpointing", str(device == "cuda"))
    if values["gradientCheckpointing"] == "True":
        network.enable_gradient_checkpointing()
    model = Step(family, values["seed"])

    # Arguments
    arguments = TrainingArguments(
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
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=[],
        use_cpu=device == "cpu",
        bf16=device == "cuda",
        dataloader_pin_memory=device == "cuda",
        report_to=[],
        disable_tqdm=True,
    )

    # Callbacks
    callbacks: list[TrainerCallback] = [StopOnRequest(stop), Origin(), report, draw_samples]
    early = None
    if values["earlyStopping"] == "True":
        early = EarlyStopping(
            values["earlyStopMetric"], values["earlyStoppingThreshold"], values["earlyStoppingPatience"]
        )
        callbacks.append(early)
    trainer = ImageTrainer(
        model=model,
        args=arguments,
        train_dataset=rows,
        eval_dataset=eval_rows if evaluates else None,
        data_collator=lambda chosen: {
            "keys": torch.tensor([key for key, _ in chosen]),
            "batch": family.collate([row for _, row in chosen]),
        },
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)

    # Train
    total_steps, steps_per_epoch = count_steps(values, len(rows))
    report_start(spec, values, events, network, device, resume, total_steps, steps_per_epoch)
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
    _save(family, is_lora, output)
    shutil.rmtree(encoded)
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


def _encode(
    family: Family, captions: list[Caption], data_file: Path, folder: Path, stop: Stop
) -> EncodedRows:
    """Encode pictures and prompts into `folder`, one file a row; rows of an earlier attempt are taken as they
    are. Each process begins with a share of its own, and then does what others have not done yet; no row is looked at
    twice.
    """
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{data_file.stem}-{caption.line}.safetensors" for caption in captions]
    reported_at = time.monotonic()
    order = sorted(range(len(paths)), key=lambda row: (row - rank()) % world_size())
    for number, row in enumerate(order, start=1):
        stop.check()
        caption, path = captions[row], paths[row]
        if not _is_readable(path):
            picture = open_picture(data_file, caption.line, caption.image)
            tensors = family.encode_picture(picture) | family.encode_prompt(caption.prompt)
            temporary = path.with_suffix(f".tmp{rank()}")
            save_file({key: value.contiguous() for key, value in tensors.items()}, temporary)
            temporary.rename(path)
        if time.monotonic() - reported_at > REPORT_SECONDS:
            reported_at = time.monotonic()
            done = min(number * world_size(), len(paths))
            print(f"{data_file.name}: {done} of {len(paths)} pictures encoded", flush=True)
    return EncodedRows(paths)


def _is_readable(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _report_rows(
    events: EventWriter, family: Family, captions: list[Caption], eval_captions: list[Caption]
) -> None:
    tokenizer = getattr(family.pipe, family.tokenizer_names[0])
    lengths = [len(tokenizer(caption.prompt).input_ids) for caption in captions]
    cut = sum(family.is_cut(caption.prompt) for caption in [*captions, *eval_captions])
    figures = {
        "rows": len(captions),
        "eval_rows": len(eval_captions),
        "tokens": sum(lengths),
        "trained_tokens": 0,
        "truncated_rows": cut,
        "dropped_rows": 0,
        "longest": max(lengths),
        "resolution": family.resolution,
    }
    events.write("prepared", **figures)
    print("rows: " + "  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
    if cut:
        events.warn(
            "prompts_cut",
            f"{cut} prompts are longer than the text encoder reads, which sees their beginning only.",
            rows=cut,
        )


def _save(family: Family, is_lora: bool, output: Path) -> None:
    """Write `output/` in one step, so that it is whole whenever it exists."""
    temporary = output.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    if is_lora:
        family.save_adapter(temporary)
    else:
        family.save_full(temporary)
    shutil.rmtree(output, ignore_errors=True)
    temporary.rename(output)
