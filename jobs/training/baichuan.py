"""Baichuan2-13B as a Llama with ALiBi, for weights that `python -m jobs.training.convert` has converted.

Importing this module registers the model type `baichuan_alibi`, and then the plain auto classes load it. The file
needs nothing but torch and transformers. It goes along with every saved model, so that a published version loads
elsewhere, either by `import baichuan` with the model's directory on the path, or with trust_remote_code=True.
"""

import math
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, LlamaModel
from transformers.masking_utils import create_causal_mask
from transformers.models.llama.modeling_llama import LlamaPreTrainedModel


class BaichuanAlibiConfig(LlamaConfig):
    model_type = "baichuan_alibi"


def alibi_slopes(heads: int) -> torch.Tensor:
    """Press et al., "Train Short, Test Long": 2^(-8i/p) for the largest power of two p, then every other slope of
    the next power for the heads that are left (40 heads: 32 and 8).
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    slopes += [2 ** (-4 * i / power) for i in range(1, 2 * (heads - power), 2)]
    return torch.tensor(slopes)


class NoRotation(nn.Module):
    """Takes the place of the rotary embedding: cosine 1, sine 0. The positions stay what they are, because packed
    rows are told apart by them.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, hidden: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cosine = hidden.new_ones(*position_ids.shape, self.size)
        return cosine, torch.zeros_like(cosine)


class BaichuanAlibiModel(LlamaModel):
    config_class = BaichuanAlibiConfig
    _supports_flash_attn = False  # takes no mask of its own, so the slopes would be lost
    _supports_flex_attn = False

    def __init__(self, config: BaichuanAlibiConfig) -> None:
        super().__init__(config)
        self.rotary_emb = NoRotation(config.hidden_size // config.num_attention_heads)

    def forward(  # type: ignore[override]
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        # transformers 5.24 calls `cache` what was `past_key_values`; the file meets both, here and elsewhere.
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        mask = create_causal_mask(
            self.config, inputs_embeds, attention_mask, cache, position_ids, allow_is_causal_skip=False
        )
        return super().forward(
            attention_mask=self._with_slopes(mask, inputs_embeds, cache),
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )

    def _with_slopes(self, mask: torch.Tensor, embeds: torch.Tensor, cache: Any) -> torch.Tensor:
        """The mask [rows, 1, queries, keys] with slope·(j-i) added: [rows, heads, queries, keys].

        The distance and not slope·j, which is the same in exact numbers and ruins bfloat16 beyond 1,000 tokens.
        """
        lowest = torch.finfo(embeds.dtype).min
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=embeds.dtype).masked_fill(~mask, lowest)
        queries, keys = mask.shape[-2:]
        past = cache.get_seq_length() if cache is not None else 0
        j = torch.arange(keys, device=embeds.device)
        i = past + torch.arange(queries, device=embeds.device)
        slopes = alibi_slopes(self.config.num_attention_heads).to(embeds.device)
        distance = slopes[:, None, None] * (j[None, :] - i[:, None])
        return (mask + distance.to(embeds.dtype)).clamp(min=lowest)


class BaichuanAlibiForCausalLM(LlamaForCausalLM):
    config_class = BaichuanAlibiConfig
    _supports_flash_attn = False
    _supports_flex_attn = False

    def __init__(self, config: BaichuanAlibiConfig) -> None:
        LlamaPreTrainedModel.__init__(self, config)
        self.model = BaichuanAlibiModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()


AutoConfig.register(BaichuanAlibiConfig.model_type, BaichuanAlibiConfig, exist_ok=True)
AutoModelForCausalLM.register(BaichuanAlibiConfig, BaichuanAlibiForCausalLM, exist_ok=True)
BaichuanAlibiConfig.register_for_auto_class()
BaichuanAlibiForCausalLM.register_for_auto_class("AutoModelForCausalLM")
