"""Full training on several devices that each hold a part of weights, gradients and optimiser (FSDP2).

Under DDP each device holds all of them, which is the faster way while they fit: one exchange a step, and not several
a layer. Adapters are small beside their frozen base, so they are never sharded. A checkpoint has the files of DDP's,
whole: whatever reads it need not know how it was trained.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate.state import DistributedType, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import distributed
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from transformers import TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

GATHERED = StateDictOptions(full_state_dict=True, cpu_offload=True)  # in the memory of rank 0
GIVEN_OUT = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


def sharding_arguments(checkpointing: bool) -> dict[str, Any]:
    """The arguments of transformers that shard. It would gather a layer twice on the way back with checkpointing of its
    own, so that is sharding's as well. The weights are those of rank 0.
    """
    config = {
        "version": 2,
        "activation_checkpointing": checkpointing,
        "cpu_ram_efficient_loading": True,
    }
    return {"fsdp": True, "fsdp_config": config, "activation_checkpointing": False}


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def agreed(decision: bool, model: Any) -> bool:
    """Rank 0's decision, where all ranks must do the same with a model: one that is sharded answers only together."""
    if not is_sharded(model):
        return decision
    answer = [decision]
    distributed.broadcast_object_list(answer, src=0)
    return answer[0]


def said_by_first(answer: bool | None, device: str) -> bool:
    """What rank 0 says, before there is a trainer, for ranks whose model has no weights to ask."""
    options = {} if device == "cpu" else {"timeout": timedelta(seconds=TrainingArguments.ddp_timeout)}
    PartialState(cpu=device == "cpu", **options)
    answers = [answer]
    distributed.broadcast_object_list(answers, src=0)
    return bool(answers[0])


class Sharded:
    """Before a trainer of transformers: with the arguments above it trains sharded, saves whole and resumes."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()  # type: ignore[misc]
        trainer: Any = self
        if trainer.args.fsdp and not trainer.is_fsdp_enabled:
            # accelerate shards on GPUs only, and would train by DDP without a word. Over gloo it works on CPUs.
            state = trainer.accelerator.state
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**trainer.args.fsdp_plugin_args)
            state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            trainer.is_fsdp_enabled = True

    def whole_state(self) -> dict[str, torch.Tensor] | None:
        """Every tensor of a sharded model on rank 0, for which all ranks have to ask; None where nothing is sharded."""
        trainer: Any = self
        return trainer.accelerator.get_state_dict(trainer.model) if is_sharded(trainer.model) else None

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        # transformers would write the weights once more, pickled.
        trainer: Any = self
        if not is_sharded(trainer.model):
            super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
            return
        state = get_optimizer_state_dict(trainer.model, trainer.optimizer.optimizer, options=GATHERED)
        if trainer.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(trainer.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        trainer: Any = self
        if checkpoint is None or not is_sharded(trainer.model):
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
            return
        state = {}
        if trainer.args.process_index == 0:
            state = torch.load(
                Path(checkpoint) / OPTIMIZER_NAME, map_location="cpu", weights_only=True, mmap=True
            )
        set_optimizer_state_dict(trainer.model, trainer.optimizer.optimizer, state, options=GIVEN_OUT)
        trainer.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))
