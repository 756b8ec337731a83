"""Where a run trains, and how many threads are worth it."""

from pathlib import Path
from typing import Any

import torch

from jobs.training import memory
from jobs.training.events import TrainingFailure
from jobs.training.ranks import world_size
from jobs.training.trainers import LORA, scale_of

TINY = 20_000_000  # parameters below which a second thread costs more than it brings


def find_device(asked: str) -> str:
    """cuda or cpu, for auto whatever is there. Raises TrainingFailure (no_gpu)."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise TrainingFailure(
            "no_gpu", "The run asks for a GPU, and this machine has none that torch can use."
        )
    device = "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"
    if device == "cuda" and torch.cuda.device_count() < world_size():
        raise TrainingFailure(
            "no_gpu",
            f"The run asks for {world_size()} GPUs, and this machine has {torch.cuda.device_count()}.",
        )
    return device


def require_memory(
    weights: Path,
    method: str,
    values: Any,
    device: str,
    length: int,
    *,
    loaded: bool,
    sequences: int = 1,
    references: int = 0,
) -> None:
    """Refuse a run that is clearly too large for the device. `length` is that of the longest sequence; `loaded` says
    whether the weights lie in the memory already. A row is so many `sequences`, and `references` models stand beside
    the one that is trained. Raises TrainingFailure (too_little_memory).
    """
    if not memory.is_checked():
        return
    batch = values["batchSize"] or 1
    is_lora = scale_of(method) == LORA
    needed = memory.estimate(
        weights,
        method,
        batch * sequences,
        length,
        device=device,
        rank=values["loraRank"] if is_lora else 0,
        all_linear=is_lora and values["loraAllLinear"] == "True",
        references=references,
    )
    if needed is None:
        return
    if device == "cuda":
        available, what = torch.cuda.mem_get_info()[0], "the GPU"
    else:
        available, what = memory.machine_memory(), "the machine"
        available += needed.libraries  # this process has them already
    if loaded:
        available += needed.weights
    memory.require(needed, available, what, batch, length)
