"""BLOOM with packed rows that do not see each other. transformers' own ignores the positions that separate them."""

from typing import Any

import transformers
from transformers import BloomModel
from transformers.masking_utils import create_causal_mask


class PackedBloomModel(BloomModel):
    """Takes `position_ids`: a row starts where they start again. ALiBi knows distances only, so that within a
    packed row nothing else changes.
    """

    packed_positions: Any = None  # left here by the model around it, which does not hand them on

    def forward(self, input_ids: Any = None, *, position_ids: Any = None, **kwargs: Any) -> Any:
        if position_ids is None:
            position_ids = self.packed_positions
        self.packed_positions = None
        alone = all(kwargs.get(name) is None for name in ("attention_mask", "cache", "past_key_values"))
        if position_ids is not None and alone:
            embeds = kwargs.get("inputs_embeds")
            embeds = self.word_embeddings(input_ids) if embeds is None else embeds
            # No mask of its own and no cache, whose name differs between the versions of transformers.
            kwargs["attention_mask"] = create_causal_mask(self.config, embeds, None, None, position_ids)
        return super().forward(input_ids, **kwargs)

    def build_alibi_tensor(self, attention_mask: Any, num_heads: int, dtype: Any) -> Any:
        if attention_mask.dim() == 4:  # our own mask; nothing is padded in a packed row
            attention_mask = attention_mask.new_ones(attention_mask.shape[0], attention_mask.shape[-1])
        return super().build_alibi_tensor(attention_mask, num_heads, dtype)


class BloomForCausalLM(transformers.BloomForCausalLM):
    """Named as its parent, because the name goes into the saved configuration."""

    def forward(self, input_ids: Any = None, *, position_ids: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        self.transformer.packed_positions = position_ids
        return super().forward(input_ids, **kwargs)


def let_rows_be_packed(model: Any) -> None:
    """Give a loaded BLOOM the two classes above; its weights and their names stay. Other models are left alone."""
    if type(model) is transformers.BloomForCausalLM:
        model.__class__ = BloomForCausalLM
        model.transformer.__class__ = PackedBloomModel
