"""Tensors of ChatGLM2/3 and Baichuan2 -> those of classes that transformers has (convert.py says which)."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import functional
from transformers import AutoModelForCausalLM, GlmConfig, LlamaConfig

from jobs.training.baichuan import BaichuanAlibiConfig
from jobs.training.original import BAICHUAN, CHATGLM, conversion_failure
from jobs.training.weight_files import INDEX

Tensors = Iterator[tuple[str, torch.Tensor]]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Plan:
    """What the target's config.json says, and the tensors that one of the source becomes."""

    config: Any
    rename: Callable[[str, torch.Tensor], Tensors]


def convert_weights(
    source: Path, files: list[Path], about: dict[str, Any], target: Path, kind: str, variant: str
) -> None:
    """Write config.json and the tensors of `files` to `target`; `about` is the source's own config.json."""
    try:
        plan = _glm(about, variant) if kind == CHATGLM else _baichuan(about)
    except KeyError as error:  # one that only some models need
        raise conversion_failure(source, f"its config.json lacks {error}") from None
    plan.config.dtype = DTYPES.get(about.get("torch_dtype", "float32"), torch.float32)
    plan.config.architectures = [_class_name(plan.config)]
    plan.config.save_pretrained(target)
    _write_weights(source, files, target, plan)
    if kind == BAICHUAN:
        _copy_class(plan.config, target)


# --- ChatGLM2 and 3 -> GLM ----------------------------------------------------------------------------------------


def rope_parameters(variant: str) -> dict[str, Any]:
    """The two long variants stretch differently, and their configurations do not tell which of the two they are:
    ChatGLM2-6B-32K divides the positions (rope_ratio 16), ChatGLM3-6B-32K multiplies the base (rope_ratio 50).
    """
    if variant == "chatglm2-32k":
        return {"rope_type": "linear", "factor": 16.0, "rope_theta": 1e4}
    return {"rope_type": "default", "rope_theta": 1e4 * (50 if variant == "chatglm3-32k" else 1)}


def _glm(about: dict[str, Any], variant: str) -> Plan:
    heads, size = about["num_attention_heads"], about["kv_channels"]
    groups = about["multi_query_group_num"] if about.get("multi_query_attention", True) else heads
    config = GlmConfig(
        vocab_size=about["padded_vocab_size"],
        hidden_size=about["hidden_size"],
        intermediate_size=about["ffn_hidden_size"],
        num_hidden_layers=about["num_layers"],
        num_attention_heads=heads,
        num_key_value_heads=groups,
        head_dim=size,
        rms_norm_eps=about.get("layernorm_epsilon", 1e-5),
        attention_bias=about.get("add_qkv_bias", True),
        max_position_embeddings=about.get("seq_length", 8192),
        rope_parameters=rope_parameters(variant),
        pad_token_id=0,
        eos_token_id=2,
        bos_token_id=None,
        tie_word_embeddings=False,
    )
    plain = {
        "embedding.word_embeddings.weight": "model.embed_tokens.weight",
        "encoder.final_layernorm.weight": "model.norm.weight",
        "output_layer.weight": "lm_head.weight",
    }
    inside = {
        "self_attention.dense.weight": "self_attn.o_proj.weight",
        "mlp.dense_h_to_4h.weight": "mlp.gate_up_proj.weight",
        "mlp.dense_4h_to_h.weight": "mlp.down_proj.weight",
        "input_layernorm.weight": "input_layernorm.weight",
        "post_attention_layernorm.weight": "post_attention_layernorm.weight",
    }

    def rename(name: str, tensor: torch.Tensor) -> Tensors:
        name = name.removeprefix("transformer.")
        if name.endswith("rotary_pos_emb.inv_freq"):
            return
        if name in plain:
            yield plain[name], tensor
            return
        number, _, rest = name.removeprefix("encoder.layers.").partition(".")
        layer = f"model.layers.{number}."
        joined, _, leaf = rest.rpartition(".")
        if joined == "self_attention.query_key_value":
            parts = tensor.split([heads * size, groups * size, groups * size])
            for letter, part in zip("qkv", parts, strict=True):
                yield f"{layer}self_attn.{letter}_proj.{leaf}", part
        else:
            yield layer + inside[rest], tensor

    return Plan(config, rename)


# --- Baichuan2 -> Llama --------------------------------------------------------------------------------------------


def _baichuan(about: dict[str, Any]) -> Plan:
    """Both sizes call themselves `baichuan`; only the 7B, which has rotary positions, says max_position_embeddings."""
    has_alibi = "max_position_embeddings" not in about
    kind = BaichuanAlibiConfig if has_alibi else LlamaConfig
    config = kind(
        vocab_size=about["vocab_size"],
        hidden_size=about["hidden_size"],
        intermediate_size=about["intermediate_size"],
        num_hidden_layers=about["num_hidden_layers"],
        num_attention_heads=about["num_attention_heads"],
        num_key_value_heads=about["num_attention_heads"],
        rms_norm_eps=about.get("rms_norm_eps", 1e-6),
        max_position_embeddings=about["model_max_length" if has_alibi else "max_position_embeddings"],
        pad_token_id=about.get("pad_token_id", 0),
        bos_token_id=about.get("bos_token_id", 1),
        eos_token_id=about.get("eos_token_id", 2),
        tie_word_embeddings=about.get("tie_word_embeddings", False),
    )
    has_norm_head = about["vocab_size"] != BAICHUAN_1_VOCABULARY

    def rename(name: str, tensor: torch.Tensor) -> Tensors:
        if name.endswith(("rotary_emb.inv_freq", "alibi_mask", "future_mask")):
            return
        if name.endswith("self_attn.W_pack.weight"):
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                yield name.replace("W_pack", f"{letter}_proj"), part
        elif name == "lm_head.weight" and has_norm_head:
            # Their head divides each row by its length on every use. Stored divided, a plain head does the same.
            yield name, functional.normalize(tensor.float(), dim=-1).to(tensor.dtype)
        else:
            yield name, tensor

    return Plan(config, rename)


BAICHUAN_1_VOCABULARY = 64000  # the first generation, whose head is a plain one


def _copy_class(config: Any, target: Path) -> None:
    """The class of a Llama with ALiBi beside its weights, so that they load elsewhere too."""
    if isinstance(config, BaichuanAlibiConfig):
        shutil.copyfile(Path(__file__).with_name("baichuan.py"), target / "baichuan.py")
        path = target / "config.json"
        about = json.loads(path.read_text())
        about["auto_map"] = {
            "AutoConfig": "baichuan.BaichuanAlibiConfig",
            "AutoModelForCausalLM": "baichuan.BaichuanAlibiForCausalLM",
        }
        path.write_text(json.dumps(about, indent=2) + "\n")


# --- Files ---------------------------------------------------------------------------------------------------------


def _write_weights(source: Path, files: list[Path], target: Path, plan: Plan) -> None:
    """One file of the target for each of the source, and the index; all tensors there and of the right shape."""
    expected = _expected(plan.config)
    index: dict[str, str] = {}
    total = 0
    for number, file in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        made: dict[str, torch.Tensor] = {}
        for key, tensor in _read(source, file):
            try:
                made |= dict(plan.rename(key, tensor))
            except (KeyError, RuntimeError, ValueError):
                raise conversion_failure(
                    source, f"the tensor {key} in {file.name} does not belong to it"
                ) from None
        for key, tensor in made.items():
            if key not in expected:
                raise conversion_failure(
                    source, f"{file.name} has {key}, which config.json does not provide for"
                )
            if tuple(tensor.shape) != expected[key]:
                raise conversion_failure(
                    source, f"{key} in {file.name} is {tuple(tensor.shape)} and not {expected[key]}"
                )
            index[key] = name
            total += tensor.numel() * tensor.element_size()
        contiguous = {key: tensor.contiguous() for key, tensor in made.items()}
        save_file(contiguous, target / name, metadata={"format": "pt"})
        print(f"{file.name}: {len(made)} tensors ({number} of {len(files)})", flush=True)
    if lost := sorted(expected.keys() - index.keys()):
        raise conversion_failure(source, f"the tensor {lost[0]} is missing ({len(lost)} in all)")
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (target / INDEX).write_text(json.dumps(content, indent=2) + "\n")


def _read(source: Path, file: Path) -> Tensors:
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118  # not a dictionary
                    yield key, tensors.get_tensor(key)
        else:
            yield from torch.load(file, map_location="cpu", weights_only=True, mmap=True).items()
    except (SafetensorError, OSError) as error:
        raise conversion_failure(source, f"{file.name} is damaged ({error})") from None


def _class_name(config: Any) -> str:
    return AutoModelForCausalLM._model_mapping[type(config)].__name__


def _expected(config: Any) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors, from the class itself, without memory for them."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tied = set(getattr(model, "all_tied_weights_keys", None) or ()) if config.tie_word_embeddings else set()
    return {key: tuple(value.shape) for key, value in model.state_dict().items() if key not in tied}
