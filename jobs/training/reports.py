"""What a run says about itself outside of its steps: its data, its configuration, its checkpoints."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from jobs.training.checkpoints import list_checkpoints, size_of, step_of
from jobs.training.events import FILE_NAME, EventWriter, read_events
from jobs.training.ranks import world_size
from jobs.training.resolve import Resolved
from jobs.training.rows import Prepared
from jobs.training.spec import Spec

LIBRARIES = ("torch", "transformers", "trl", "peft", "diffusers")


def report_rows(events: EventWriter, rows: Prepared, eval_rows: Prepared) -> None:
    figures = {
        "rows": len(rows.rows),
        "eval_rows": len(eval_rows.rows),
        "tokens": rows.tokens(),
        "trained_tokens": rows.trained_tokens(),
        "truncated_rows": rows.truncated_rows + eval_rows.truncated_rows,
        "dropped_rows": rows.dropped_rows + eval_rows.dropped_rows,
        "joined_rows": rows.joined_rows,
        "longest": rows.longest(),
    }
    events.write("prepared", **figures)
    print("rows: " + "  ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
    if rows.split_rows:
        events.warn(
            "rows_split",
            f"The chat template rewrites earlier turns, so {rows.split_rows} conversations became one row per reply.",
            rows=rows.split_rows,
        )
    if rows.system_merged:
        events.warn(
            "system_merged",
            f"The chat template has no system role, so {rows.system_merged} system texts moved to the first turn.",
            rows=rows.system_merged,
        )


def report_start(
    spec: Spec,
    values: Resolved,
    events: EventWriter,
    model: Any,
    device: str,
    resume: Path | None,
    total_steps: int,
    steps_per_epoch: int,
    *,
    is_sharded: bool = False,
) -> None:
    together = f"{'FSDP2' if is_sharded else 'DDP'} × {world_size()}" if world_size() > 1 else ""
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(map(_count, model.parameters()))
    first = next(model.parameters())
    events.write(
        "start",
        pid=os.getpid(),
        host=platform.node(),
        resumed_from=step_of(resume) if resume else None,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        epochs=values["epoch"],
        device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
        dtype=str(first.dtype).removeprefix("torch.") + (" · NF4" if is_in_four_bits(model) else ""),
        distribution=together,
        parameters={"total": total, "trainable": trainable},
        resolved=values.as_event(),
        versions={name: version(name) for name in LIBRARIES},
    )
    print(f"{spec.run} attempt {spec.attempt}: {spec.method} on {spec.base.name} ({type(model).__name__})")
    print(f"  {total:,} parameters, {trainable:,} trained, {first.dtype} on {device} {together}")
    for key, entry in values.as_event().items():
        print(f"  {key:<26} {entry['value']!s:<14} {entry['origin']}")
    print(f"  {total_steps} steps, {steps_per_epoch} an epoch", flush=True)
    if resume:
        print(f"  resumed from {resume.name}", flush=True)


def is_in_four_bits(model: Any) -> bool:
    return getattr(model, "is_loaded_in_4bit", False)


def _count(parameter: torch.Tensor) -> int:
    """Numbers in a parameter; one that is kept in 4 bits has two of them in each byte."""
    state = getattr(parameter, "quant_state", None)
    return state.shape.numel() if state else parameter.numel()


def report_checkpoints(events: EventWriter, run_dir: Path, values: dict[str, float]) -> None:
    """Bring the events in line with the checkpoints on disk, also those of a process that was killed."""
    announced: set[int] = set()
    for event in read_events(run_dir / FILE_NAME)[0]:
        if event["type"] == "checkpoint":
            announced.add(event["step"])
        elif event["type"] == "checkpoint_removed":
            announced.discard(event["step"])
    on_disk = {step_of(path): path for path in list_checkpoints(run_dir / "checkpoints")}
    for step in sorted(on_disk.keys() - announced):
        path = on_disk[step]
        events.write(
            "checkpoint",
            step=step,
            path=str(path.relative_to(run_dir)),
            bytes=size_of(path),
            loss=values.get("loss"),
            eval_loss=values.get("eval_loss"),
        )
        print(f"checkpoint {path.name}", flush=True)
    for step in sorted(announced - on_disk.keys()):
        events.write("checkpoint_removed", step=step)


def last_values(run_dir: Path, step: int) -> dict[str, float]:
    """The newest value of each metric up to the step that a run resumes from, for the events that name them."""
    newest: dict[str, float] = {}
    for event in read_events(run_dir / FILE_NAME)[0]:
        if event["type"] == "metrics" and event["step"] <= step:
            newest |= event["values"]
    return newest
