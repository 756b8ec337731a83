"""Learning from judged replies (KTO): each row has one reply and says whether it is a good one.

Good replies become likelier and bad ones less, measured against the model as it was before the run. How far the model
has moved in general is estimated on replies to other questions of the same batch, so that a batch needs two rows.
"""

import random
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trl import KTOConfig, KTOTrainer

from jobs.training.aligning import Aligned, Kind, align
from jobs.training.events import EventWriter
from jobs.training.preferences import Example, JudgedRow
from jobs.training.resolve import Resolved
from jobs.training.spec import Spec
from jobs.training.stopping import Stop


class Trainer(Aligned, KTOTrainer):
    """TRL's trainer on rows that are tokenised already."""


def train(spec: Spec, run_dir: Path, events: EventWriter, stop: Stop) -> None:
    """One run, from its directory to `output/`. Raises TrainingFailure, and StopRequestedError between phases."""
    kind = Kind(
        row=JudgedRow,
        examples=examples,
        columns=columns,
        trainer=Trainer,
        config=KTOConfig,
        arguments=arguments,
        arrange=arrange,
        sequences=2,
        smallest_batch=2,
    )
    align(spec, run_dir, events, stop, kind)


def examples(row: JudgedRow, prompt: array, replies: Sequence[array]) -> list[Example]:
    return [Example(prompt, tuple(replies), row.label)]


def columns(example: Example) -> dict[str, Any]:
    """As TRL's collator reads a row."""
    return {
        "prompt_ids": list(example.prompt),
        "completion_ids": list(example.replies[0]),
        "label": example.label,
    }


def arrange(rows: list[dict[str, Any]], values: Resolved) -> list[dict[str, Any]]:
    """Rows in the order of `seed`, in which they stay, each with the reply of its neighbour in the batch."""
    rows = random.Random(values["seed"]).sample(rows, len(rows))  # noqa: S311
    size = values["batchSize"]
    arranged = []
    for start in range(0, len(rows), size):
        batch = rows[start : start + size]
        for row, other in zip(batch, [batch[-1], *batch[:-1]], strict=True):
            arranged.append(row | {"KL_completion_ids": other["completion_ids"]})
    return arranged


def arguments(values: Resolved) -> dict[str, Any]:
    """What the hyperparameters of this mode are to TRL."""
    return {
        "beta": values["ktoBeta"],
        "desirable_weight": values["desirableWeight"],
        "undesirable_weight": values["undesirableWeight"],
        "disable_dropout": False,  # loraDropout is a choice of its own
    }
