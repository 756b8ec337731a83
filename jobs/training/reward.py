"""Reward models: a number for a reply, higher for better ones, learned from replies that people have sorted.

The language model gets a head of one number in place of its vocabulary, so what comes out is a classifier of
sequences and answers nothing.
"""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

from jobs.training.aligning import Aligned, Kind, align
from jobs.training.events import EventWriter
from jobs.training.preferences import Example, RankedRow
from jobs.training.resolve import Resolved
from jobs.training.spec import Spec
from jobs.training.stopping import Stop


class Trainer(Aligned, RewardTrainer):
    """TRL's trainer on rows that are tokenised already."""


def train(spec: Spec, run_dir: Path, events: EventWriter, stop: Stop) -> None:
    """One run, from its directory to `output/`. Raises TrainingFailure, and StopRequestedError between phases."""
    kind = Kind(
        row=RankedRow,
        examples=examples,
        columns=columns,
        trainer=Trainer,
        config=RewardConfig,
        arguments=arguments,
        sequences=2,
        model=AutoModelForSequenceClassification,
        has_reference=False,
    )
    align(spec, run_dir, events, stop, kind)


def examples(row: RankedRow, prompt: array, replies: Sequence[array]) -> list[Example]:
    """Every two replies of which one is better. Replies of the same score teach nothing."""
    scored = [(response.score, reply) for response, reply in zip(row.responses, replies, strict=True)]
    return [
        Example(prompt, (better, worse))
        for high, better in scored
        for low, worse in scored
        if high > low and better != worse
    ]


def columns(example: Example) -> dict[str, Any]:
    """As TRL's collator reads a row."""
    chosen, rejected = (list(example.prompt) + list(reply) for reply in example.replies)
    return {"chosen_ids": chosen, "rejected_ids": rejected}


def arguments(values: Resolved) -> dict[str, Any]:
    """What the hyperparameters of this mode are to TRL."""
    return {
        "center_rewards_coefficient": values["centerRewards"] or None,
        "disable_dropout": False,  # loraDropout is a choice of its own
    }
