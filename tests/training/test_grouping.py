"""Rows of like length share a step, in an order that survives kills and does not ask how many devices there are."""

from __future__ import annotations

import pytest
import torch

from jobs.training.grouping import WINDOW, ByLength
from tests.training.runs import conversation, killed_after, train

pytestmark = pytest.mark.training

LENGTHS = torch.randint(1, 1000, (10 * WINDOW * 4 + 3,), generator=torch.Generator().manual_seed(1))
LONG = [
    conversation(f"Say {number} {number % 13} times.", " ".join([str(number)] * (1 + number % 13)))
    for number in range(132)
]
VALUES = {
    "epoch": 1,
    "batchSize": 2,
    "learningRate": 1e-3,
    "maxSeqLen": 128,
    "saveStep": 40,
    "loggingSteps": 1,
    "checkpointCount": 2,
}


def padded(order: list[int], batch: int = 4) -> float:
    """Positions that the batches take, as a multiple of the tokens in them."""
    rows = LENGTHS[order]
    batches = rows[: len(rows) // batch * batch].view(-1, batch)
    return float(batches.max(dim=1).values.sum() * batch / batches.sum())


def test_every_row_comes_once_and_little_is_padding() -> None:
    order = list(ByLength(LENGTHS, 4, seed=1))
    assert sorted(order) == list(range(len(LENGTHS)))
    assert padded(order) < 1.1 < 1.5 < padded(torch.randperm(len(LENGTHS)).tolist())


def test_epochs_and_seeds_differ_and_repeat() -> None:
    one, other = ByLength(LENGTHS, 4, seed=1), ByLength(LENGTHS, 4, seed=2)
    first = list(one)
    assert first == list(one) != list(other)
    one.set_epoch(1)
    assert first != list(one)


def test_long_and_short_steps_alternate() -> None:
    """Otherwise the loss would go up and down with the lengths."""
    order = list(ByLength(LENGTHS, 4, seed=1))
    means = LENGTHS[order[: len(order) // 4 * 4]].view(-1, 4).float().mean(dim=1)
    halves = means[: len(means) // 2].mean(), means[len(means) // 2 :].mean()
    assert abs(halves[0] - halves[1]) < 0.15 * means.mean()


def test_a_run_goes_on_in_the_same_order(new_run) -> None:
    whole = new_run("llama", "LoRA", LONG, **VALUES)
    assert train(whole).returncode == 0
    killed = killed_after(whole, 40)
    assert train(killed).returncode == 0
    assert killed.last("start")["resumed_from"] == 40
    expected = {step: value for step, value in whole.metric("loss").items() if step > 40}
    assert killed.metric("loss") == expected and len(expected) == 26
