"""What a run ends in: the weights, or the adapter, with the tokenizer."""

import shutil
from pathlib import Path
from typing import Any

from jobs.training.checkpoints import SHARD_SIZE


def save(model: Any, tokenizer: Any, output: Path, state: dict[str, Any] | None = None) -> None:
    """Write `output/` in one step, so that it is whole whenever it exists. `state` has the tensors of a model that
    holds only a part of them.
    """
    temporary = output.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    if hasattr(model.config, "output_router_logits"):
        model.config.output_router_logits = False  # needed in training only, and slows down whoever serves it
    model.config.use_cache = True
    model.save_pretrained(temporary, state_dict=state, max_shard_size=SHARD_SIZE)
    tokenizer.save_pretrained(temporary)
    (temporary / "README.md").unlink(missing_ok=True)  # peft's form for a model card, not filled in
    shutil.rmtree(output, ignore_errors=True)
    temporary.rename(output)
