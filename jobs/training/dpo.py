"""Direct preference optimisation: of two replies to a question the chosen one becomes likelier, the rejected one less.

Both are measured against the model as it was before the run, which stands beside it (full training) or is the model
without its adapter (LoRA).
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trl import DPOConfig, DPOTrainer

from jobs.training.aligning import Aligned, Kind, align
from jobs.training.events import EventWriter
from jobs.training.preferences import Example, PreferenceRow
from jobs.training.resolve import Resolved
from jobs.training.spec import Spec
from jobs.training.stopping import Stop


class Trainer(Aligned, DPOTrainer):
    """TRL's trainer on rows that are tokenised already."""


def train(spec: Spec, run_dir: Path, events: EventWriter, stop: Stop) -> None:
    """One run, from its directory to `output/`. Raises TrainingFailure, and StopRequestedError between phases."""
    kind = Kind(
        row=PreferenceRow,
        examples=examples,
        columns=columns,
        trainer=Trainer,
        config=DPOConfig,
        arguments=arguments,
        sequences=2,
    )
    align(spec, run_dir, events, stop, kind)


def examples(row: PreferenceRow, prompt: array, replies: Sequence[array]) -> list[Example]:
    """One pair; none where the two replies are the same after they were shortened."""
    return [] if replies[0] == replies[1] else [Example(prompt, tuple(replies))]


def columns(example: Example) -> dict[str, Any]:
    """As TRL's collator reads a row."""
    chosen, rejected = example.replies
    return {
        "prompt_ids": list(example.prompt),
        "chosen_ids": list(chosen),
        "rejected_ids": list(rejected),
    }


def arguments(values: Resolved) -> dict[str, Any]:
    """What the hyperparameters of this mode are to TRL."""
    return {
        "beta": values["dpoBeta"],
        "loss_type": [values["lossType"]],
        "label_smoothing": values["labelSmoothing"] if values["lossType"] == "robust" else 0.0,
        "disable_dropout": False,  # loraDropout is a choice of its own
    }
