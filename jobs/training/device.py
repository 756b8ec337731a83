"""Where a run trains, and how many threads are worth it."""

import torch

from jobs.training.events import TrainingFailure

TINY = 20_000_000  # parameters below which a second thread costs more than it brings


def find_device(asked: str) -> str:
    """cuda or cpu, for auto whatever is there. Raises TrainingFailure (no_gpu)."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise TrainingFailure(
            "no_gpu", "The run asks for a GPU, and this machine has none that torch can use."
        )
    return "cuda" if asked != "cpu" and torch.cuda.is_available() else "cpu"
