"""A local directory of safetensors -> model and tokenizer. Nothing is fetched and nothing is unpickled."""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from accelerate import init_empty_weights
from huggingface_hub.errors import StrictDataclassError
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
)

from jobs.training import baichuan  # noqa: F401  # registers its class
from jobs.training.bloom import let_rows_be_packed
from jobs.training.chat import NEUTRAL_TEMPLATE
from jobs.training.events import TrainingFailure
from jobs.training.spec import Base
from jobs.training.trainers import QLORA, REQUIRED
from jobs.training.weight_files import broken, check_loaded, missing

HEAD = "score.weight"  # of a model that gives a number


def load_tokenizer(base: Base) -> Any:
    """The tokenizer with a chat template and a padding token, both added where the directory has none."""
    path = Path(base.path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=base.trust_remote_code
        )
    except StrictDataclassError as error:
        raise _contradictory(path, error) from error
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        reason = f"its tokenizer does not load ({_first_line(error)})"
        raise missing(path, reason, "no_tokenizer") from error
    if not tokenizer.is_fast:
        reason = "its tokenizer has no tokenizer.json, which is needed to find the replies in a text"
        raise missing(path, reason, "file_missing", "tokenizer.json")
    if tokenizer.eos_token is None:
        raise missing(path, "its tokenizer names no end-of-text token (eos_token)")
    if tokenizer.chat_template is None:
        tokenizer.chat_template = NEUTRAL_TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked and never in the loss
    return tokenizer


def where_training_stands(base: Base, resume: Path | None, *, is_full: bool) -> Base:
    """The weights that a run goes on with: in full training those of the checkpoint, otherwise the base's.

    They are loaded like any model. What transformers' trainer does instead, a checkpoint's tensors by their names into
    the model, leaves out every tensor that is named otherwise in files than in memory, without a word: the experts of
    a mixture, for one.
    """
    return msgspec.structs.replace(base, path=str(resume)) if resume and is_full else base


class LoadedBefore:
    """Before a trainer of transformers: full weights of a checkpoint are in the model already when it resumes."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if isinstance(self.model, PeftModel):  # type: ignore[attr-defined]
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]


def load_model(
    base: Base,
    dtype: torch.dtype,
    kind: Any = AutoModelForCausalLM,
    *,
    device: str = "",
    in_four_bits: bool = False,
) -> Any:
    """The model in `dtype`; `kind` is one of transformers' auto classes. That of sequences gives one number, and its
    head is new where the weights are those of a language model. `in_four_bits` its layers are kept so, on `device`.
    Raises TrainingFailure naming the tensor that is wrong.
    """
    path = Path(base.path)
    further = four_bits(dtype, device) if in_four_bits else {}
    gives_number = kind is AutoModelForSequenceClassification
    try:
        model, info = kind.from_pretrained(
            path,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=base.trust_remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that their names are told
            **({"num_labels": 1} if gives_number else {}),
            **further,
        )
    except StrictDataclassError as error:
        raise _contradictory(path, error) from error
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise broken(path, _first_line(error)) from error
    check_loaded(path, info, may_be_new={HEAD} if gives_number else ())
    tensors = model.named_parameters() if not in_four_bits else _tensors(path)
    for name, tensor in tensors:
        if not torch.isfinite(tensor).all():
            raise broken(path, f"the tensor {name} holds NaN or infinity", "tensor_not_finite", name)
    if in_four_bits and any(
        ".experts." in name and tensor.dim() > 2 for name, tensor in model.named_parameters()
    ):
        raise TrainingFailure(
            "not_in_four_bits",
            f"{type(model).__name__} is a mixture of experts, which QLoRA cannot keep in 4 bits; choose LoRA.",
            model=type(model).__name__,
        )
    for module in model.modules():
        if in_four_bits and hasattr(module, "support_avx512bf16_for_cpu"):
            # On such CPUs it would lay out its weights anew for each evaluation, and round them on the way back.
            module.support_avx512bf16_for_cpu = False
    let_rows_be_packed(model)
    model.config.use_cache = False
    return model


def load_empty(base: Base, dtype: torch.dtype) -> Any:
    """The model of a directory without its weights; its buffers are computed as ever. For a rank that gets its share
    of the weights from rank 0, which finds what is wrong with them.
    """
    config = AutoConfig.from_pretrained(
        base.path, local_files_only=True, trust_remote_code=base.trust_remote_code
    )
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=base.trust_remote_code
        )
    # Memory that nobody writes to is not taken. accelerate tells parameters apart by their addresses, which those
    # on torch's device "meta" do not have.
    places: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            place = torch.empty_like(parameter, device="cpu")
            kept = places.setdefault(id(parameter), nn.Parameter(place, parameter.requires_grad))
            setattr(module, name, kept)
    let_rows_be_packed(model)
    model.config.use_cache = False
    return model


def four_bits(dtype: torch.dtype, device: str) -> dict[str, Any]:
    """The arguments with which transformers keeps linear layers in 4 bits and computes in `dtype`: QLoRA's NF4, with
    scales that are quantised themselves. Raises TrainingFailure (library_missing).
    """
    package = REQUIRED[QLORA]
    try:
        importlib.import_module(package)
    except (
        ImportError,
        OSError,
        RuntimeError,
    ) as error:  # the last two: its compiled part does not fit the machine
        raise TrainingFailure(
            "library_missing",
            f"QLoRA needs the package {package}, which cannot be used here ({_first_line(error).rstrip('.')}); "
            "install requirements-qlora.txt on the training machine, or choose LoRA.",
            package=package,
        ) from error
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    place = int(os.environ.get("LOCAL_RANK", "0")) if device == "cuda" else "cpu"
    return {"quantization_config": quantisation, "device_map": {"": place}}


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and numbers of every tensor in a directory's files; one that is kept in 4 bits no longer shows a NaN."""
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # it is no dict
                yield name, opened.get_tensor(name)


def _contradictory(path: Path, error: Exception) -> TrainingFailure:
    return broken(path, f"config.json contradicts itself ({error})", "config_contradictory", "config.json")


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
