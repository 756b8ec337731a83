"""Which layers of an architecture get adapters."""

from typing import Any

from peft import LoraConfig
from torch import nn

from jobs.training.events import EventWriter, TrainingFailure
from jobs.training.resolve import Resolved

QUERY_VALUE = (("q_proj", "v_proj"), ("query_key_value",))  # BLOOM keeps the three in one layer


def lora_config(model: Any, values: Resolved, events: EventWriter) -> LoraConfig:
    """peft's configuration for the hyperparameters of a run. Raises TrainingFailure when no layer fits."""
    names, stacked = _targets(model, values)
    if values["loraAlpha"] is None:
        values.decide("loraAlpha", 2 * values["loraRank"])
    if stacked and values["loraDropout"] > 0:
        events.warn(
            "lora_dropout_off",
            "Adapters on the experts of a mixture cannot have dropout, so loraDropout is 0.",
        )
        values.decide("loraDropout", 0.0)
    gives_number = hasattr(model, "score")
    return LoraConfig(
        task_type="SEQ_CLS" if gives_number else "CAUSAL_LM",
        modules_to_save=["score"] if gives_number else None,  # a head that is new has to be trained whole
        r=values["loraRank"],
        lora_alpha=values["loraAlpha"],
        lora_dropout=values["loraDropout"],
        target_modules=names,
        target_parameters=stacked or None,
    )


def keep_whole(model: Any) -> None:
    """What is trained in float32. TRL makes the adapters of a base in 4 bits bfloat16, which swallows small updates."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _targets(model: Any, values: Resolved) -> tuple[list[str], list[str]]:
    """(module names, parameter names). The second is for mixtures of experts, and empty otherwise.

    Experts are stacked 3-D parameters and no modules. Given module names such as gate_proj, peft rewrites
    them for mixtures and then leaves out dense layers and shared experts without a word (ERNIE), so there
    everything outside the attention is named in full, as a parameter. The router keeps its weights.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    head = getattr(model, "score", None) or model.get_output_embeddings()
    linear = [name for name in linear if model.get_submodule(name) is not head]
    if chosen := values["loraTargetModules"]:
        return _existing(model, linear, [name.rpartition(".")[2] for name in chosen]), []
    if values["loraAllLinear"] == "False":
        for names in QUERY_VALUE:
            if any(name.rpartition(".")[2] == names[0] for name in linear):
                return list(names), []
        raise TrainingFailure(
            "no_adapter_layers",
            f"{type(model).__name__} has no query and value projections to put adapters on.",
        )
    experts = [
        name for name, parameter in model.named_parameters() if ".experts." in name and parameter.dim() == 3
    ]
    if not experts:
        return sorted({name.rpartition(".")[2] for name in linear}), []
    attention = [name for name in linear if ".self_attn." in name]
    others = [f"{name}.weight" for name in linear if name not in attention and not name.endswith(".gate")]
    return sorted({name.rpartition(".")[2] for name in attention}), experts + others


def _existing(model: Any, linear: list[str], wanted: list[str]) -> list[str]:
    present = {name.rpartition(".")[2] for name in linear}
    if lost := [name for name in wanted if name not in present]:
        raise TrainingFailure(
            "no_adapter_layers",
            f"{type(model).__name__} has no layer {lost[0]}; it has {', '.join(sorted(present))}.",
            layer=lost[0],
        )
    return wanted
