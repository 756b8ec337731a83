"""An adapter and its base model -> full weights that need neither peft nor the base model."""

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors import safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    AutoProcessor,
    AutoTokenizer,
)

from jobs.training.checkpoints import SHARD_SIZE
from jobs.training.events import TrainingFailure
from jobs.training.spec import Spec, read_spec
from jobs.training.weight_files import check_weights
from jobs.training.weights import load_model

KINDS = {
    "text": AutoModelForCausalLM,
    "dpo": AutoModelForCausalLM,
    "kto": AutoModelForCausalLM,
    "reward": AutoModelForSequenceClassification,
    "vision": AutoModelForImageTextToText,
}
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def merge(run_dir: Path, target: Path) -> None:
    """Write the merged weights of a finished run's `output/` to `target`, whole or not at all, in the type of the
    base model's own weights. Raises TrainingFailure.
    """
    spec = read_spec(run_dir)
    temporary = target.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    if spec.trainer == "image":
        _merge_pipeline(spec, run_dir / "output", temporary)
    else:
        _merge_model(spec, run_dir / "output", temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)


def _merge_model(spec: Spec, adapter: Path, target: Path) -> None:
    kind = KINDS.get(spec.trainer)
    if kind is None:
        raise TrainingFailure("not_mergeable", f"Adapters of the trainer {spec.trainer} are not merged.")
    files = check_weights(Path(spec.base.path))
    base = load_model(spec.base, dtype_of(files[0]), kind)
    model = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    model.config.use_cache = True
    model.save_pretrained(target, max_shard_size=SHARD_SIZE)
    loader: Any = AutoProcessor if spec.trainer == "vision" else AutoTokenizer
    loader.from_pretrained(adapter, local_files_only=True).save_pretrained(target)


def _merge_pipeline(spec: Spec, adapter: Path, target: Path) -> None:
    from jobs.training.diffusion import find_family

    base = Path(spec.base.path)
    family = find_family(base)
    dtype = dtype_of(next((base / family.network_name).glob("*.safetensors")))
    pipe = family.pipeline_class.from_pretrained(base, torch_dtype=dtype, local_files_only=True)
    pipe.load_lora_weights(adapter)
    pipe.fuse_lora(components=[family.network_name])
    pipe.unload_lora_weights()
    pipe.save_pretrained(target, safe_serialization=True, max_shard_size=SHARD_SIZE)


def dtype_of(path: Path) -> torch.dtype:
    """The type of the numbers in a safetensors file, by its first tensor."""
    with safe_open(path, framework="pt") as file:
        return DTYPES.get(file.get_slice(next(iter(file.keys()))).get_dtype(), torch.float32)
