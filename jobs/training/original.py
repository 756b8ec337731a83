"""Which directories hold weights in a layout that is converted first. Nothing heavy: the console asks too."""

import json
from pathlib import Path
from typing import Any

from jobs.training.events import TrainingFailure

CHATGLM, BAICHUAN = "chatglm", "baichuan"
# They differ in their positions and in their roles.
VARIANTS = ("chatglm2", "chatglm2-32k", "chatglm3", "chatglm3-32k")
# What the conversion reads of config.json and has no default for.
SIZES = ("num_attention_heads", "hidden_size")
NEEDED = {
    CHATGLM: (*SIZES, "kv_channels", "padded_vocab_size", "ffn_hidden_size", "num_layers"),
    BAICHUAN: (*SIZES, "vocab_size", "intermediate_size", "num_hidden_layers"),
}


def original_kind(config: dict[str, Any]) -> str | None:
    """By config.json: CHATGLM, BAICHUAN, or None for what needs no conversion."""
    kind, classes = config.get("model_type"), config.get("architectures") or []
    if kind == CHATGLM or any(name.startswith("ChatGLM") for name in classes):
        return CHATGLM
    if kind == BAICHUAN or any(name in ("BaichuanForCausalLM", "BaiChuanForCausalLM") for name in classes):
        return BAICHUAN
    return None


def kind_of(directory: Path) -> str | None:
    try:
        config = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError):
        return None  # the trainer says what is wrong with it
    return original_kind(config) if isinstance(config, dict) else None


def variant_of(name: str) -> str:
    """Which ChatGLM a name speaks of, because the configurations do not tell; empty for any other model."""
    name = name.lower()
    generation = next((number for number in "32" if f"chatglm{number}" in name), "")
    if not generation:
        return ""
    return f"chatglm{generation}{'-32k' if '32k' in name else ''}"


def conversion_failure(source: Path, reason: str) -> TrainingFailure:
    return TrainingFailure(
        "conversion_failed",
        f"The weights in {source} cannot be converted: {reason}.",
        path=str(source),
        reason=reason,
    )
