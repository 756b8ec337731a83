"""Rows of like length in one step, so that little of a batch is padding."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler

# Rows are sorted within so many steps, which are then shuffled.
WINDOW = 32
# With fewer steps an epoch, the same rows would meet again and again.
FEWEST_STEPS = 2 * WINDOW


class ByLength(Sampler[int]):
    """A random order in which the rows of a step (`batch`, over all devices and passes) have similar lengths.

    It depends on the seed and the epoch alone: the same on however many devices, and after a kill. What does not fill
    a step comes last, of any length.
    """

    def __init__(self, lengths: torch.Tensor, batch: int, seed: int) -> None:
        self.lengths, self.batch, self.seed = lengths, batch, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self), generator=generator)
        full = len(self) // self.batch * self.batch
        windows = order[:full].split(self.batch * WINDOW)
        steps = torch.cat([rows[self.lengths[rows].argsort(stable=True)] for rows in windows])
        steps = steps.view(-1, self.batch)
        yield from steps[torch.randperm(len(steps), generator=generator)].flatten().tolist()
        yield from order[full:].tolist()
