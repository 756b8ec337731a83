"""Where a run trains, and how many threads are worth it."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from jobs.training import memory
from jobs.training.events import TrainingFailure
from jobs.training.ranks import rank, world_size
from jobs.training.resolve import Resolved
from jobs.training.trainers import FULL, QLORA, scale_of

SHARDING = "TRAINER_SHARDING"  # auto, always or never
HALF = 0.5  # of a device: where a whole model with its optimiser takes more, several devices share it
EASE = 0.8  # of what is free: an estimate is none of what other programs will take
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


@dataclass(frozen=True)
class Room:
    """What a run takes of its device's memory, and what follows. A row is so many `sequences`, and `references` models
    stand beside the one that is trained. Without `can_shard` every device has a whole copy.
    """

    weights: Path
    method: str
    values: Resolved
    device: str
    sequences: int = 1
    references: int = 0
    can_shard: bool = True

    def require(self, length: int, *, loaded: bool, is_sharded: bool = False) -> None:
        """Refuse a run that is clearly too large. `length` is that of the longest sequence; `loaded` says whether the
        weights lie in the memory already. Raises TrainingFailure (too_little_memory).
        """
        if not memory.is_checked() or rank() > 0:  # rank 0 says it for all
            return
        shards = world_size() if is_sharded or (not loaded and self._may_be_sharded()) else 1
        needed = self._estimate(length, self.values["gradientCheckpointing"] != "False", shards)
        if needed is None:
            return
        what = "the GPU" if self.device == "cuda" else "the machine"
        batch = self.values["batchSize"] or 1
        memory.require(needed, self._free(needed, loaded=loaded), what, batch, length)

    def decide(self, length: int) -> bool:
        """How the run is fitted into the memory, now that weights and rows are there: whether activations are computed
        again on the way back instead of kept, where they would not fit with ease; a smaller batch, where it is ours to
        choose; and, the answer, whether several devices share one model.
        """
        is_sharded = self._may_be_sharded() and self._wants_sharding(length)
        shards = world_size() if is_sharded else 1
        values = self.values
        if values["gradientCheckpointing"] == "auto":
            needed = self._estimate(length, False, shards)
            is_tight = needed.total > EASE * self._room(needed) if needed else self.device == "cuda"
            values.decide("gradientCheckpointing", str(is_tight))
        checkpointing = values["gradientCheckpointing"] == "True"
        while not values.is_given("batchSize") and values["batchSize"] % (2 * world_size()) == 0:
            needed = self._estimate(length, checkpointing, shards)
            if needed is None or needed.total <= EASE * self._room(needed):
                break
            values.decide("batchSize", values["batchSize"] // 2)
            values.decide("gradientAccumulationSteps", values["gradientAccumulationSteps"] * 2)
        return is_sharded

    def will_be_shared(self) -> bool:
        """Whether several devices may come to share one model, known before there are rows: if not, they will not."""
        return self._may_be_sharded() and self._wants_sharding(self.values["maxSeqLen"])

    def _may_be_sharded(self) -> bool:
        return (
            self.can_shard
            and world_size() > 1
            and scale_of(self.method) == FULL
            and os.environ.get(SHARDING, "auto") != "never"
        )

    def _wants_sharding(self, length: int) -> bool:
        if os.environ.get(SHARDING, "auto") == "always":
            return True
        needed = self._estimate(length, True, 1)
        return needed is None or needed.total > HALF * self._size()

    def _estimate(self, length: int, checkpointing: bool, shards: int) -> memory.Estimate | None:
        batch = -(-(self.values["batchSize"] or 1) // world_size())
        has_adapter = scale_of(self.method) != FULL
        return memory.estimate(
            self.weights,
            self.method,
            batch * self.sequences,
            length,
            device=self.device,
            rank=self.values["loraRank"] if has_adapter else 0,
            all_linear=has_adapter and self.values["loraAllLinear"] == "True",
            checkpointing=checkpointing,
            references=self.references,
            shards=shards,
        )

    def _room(self, needed: memory.Estimate) -> int:
        """Bytes that decisions count on: what is free, but what there is in all where several ranks must come to the
        same decision.
        """
        return self._size() if world_size() > 1 else self._free(needed, loaded=True)

    def _free(self, needed: memory.Estimate, *, loaded: bool) -> int:
        """Bytes that this process can have, with those it has already."""
        if self.device == "cuda":
            available = torch.cuda.mem_get_info()[0]
        else:
            available = memory.machine_memory() // world_size()
            available += needed.libraries  # this process has them already
        if loaded and (
            self.device == "cpu" or scale_of(self.method) == QLORA
        ):  # others move to the GPU later
            available += needed.weights
        return available

    def _size(self) -> int:
        """Bytes of the smallest device, or of the machine for each of the ranks."""
        if self.device == "cuda":
            devices = range(torch.cuda.device_count())
            return min(torch.cuda.get_device_properties(number).total_memory for number in devices)
        return memory.machine_size() // world_size()
