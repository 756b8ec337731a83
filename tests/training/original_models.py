"""ChatGLM2/3 and Baichuan2 in their original layout with random weights, and their forward written down anew.

Run as a script in a process of its own: makes each, converts it, and prints as JSON how far the logits of the
converted model are from those computed here straight from the original tensors.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.nn import functional

HIDDEN, LAYERS, HEADS, GROUPS, FFN, VOCABULARY, LENGTH = 48, 2, 6, 2, 80, 90, 20
SIZE = HIDDEN // HEADS
Weights = dict[str, torch.Tensor]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape) * 0.3


def glm_weights() -> Weights:
    weights = {
        "transformer.embedding.word_embeddings.weight": random(VOCABULARY, HIDDEN),
        "transformer.encoder.final_layernorm.weight": 1 + random(HIDDEN),
        "transformer.output_layer.weight": random(VOCABULARY, HIDDEN),
        "transformer.rotary_pos_emb.inv_freq": random(SIZE // 4),
    }
    joined = (HEADS + 2 * GROUPS) * SIZE
    for number in range(LAYERS):
        for name, shape in {
            "input_layernorm.weight": (HIDDEN,),
            "self_attention.query_key_value.weight": (joined, HIDDEN),
            "self_attention.query_key_value.bias": (joined,),
            "self_attention.dense.weight": (HIDDEN, HIDDEN),
            "post_attention_layernorm.weight": (HIDDEN,),
            "mlp.dense_h_to_4h.weight": (2 * FFN, HIDDEN),
            "mlp.dense_4h_to_h.weight": (HIDDEN, FFN),
        }.items():
            weights[f"transformer.encoder.layers.{number}.{name}"] = random(*shape)
    return weights


def baichuan_weights() -> Weights:
    weights = {
        "model.embed_tokens.weight": random(VOCABULARY, HIDDEN),
        "model.norm.weight": 1 + random(HIDDEN),
        "lm_head.weight": random(VOCABULARY, HIDDEN),
    }
    for number in range(LAYERS):
        for name, shape in {
            "input_layernorm.weight": (HIDDEN,),
            "self_attn.W_pack.weight": (3 * HIDDEN, HIDDEN),
            "self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            "post_attention_layernorm.weight": (HIDDEN,),
            "mlp.gate_proj.weight": (FFN, HIDDEN),
            "mlp.up_proj.weight": (FFN, HIDDEN),
            "mlp.down_proj.weight": (HIDDEN, FFN),
        }.items():
            weights[f"model.layers.{number}.{name}"] = random(*shape)
    return weights


GLM_CONFIG = {
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"},
    "padded_vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "ffn_hidden_size": FFN,
    "num_layers": LAYERS,
    "num_attention_heads": HEADS,
    "multi_query_attention": True,
    "multi_query_group_num": GROUPS,
    "kv_channels": SIZE,
    "layernorm_epsilon": 1e-5,
    "add_qkv_bias": True,
    "seq_length": 256,
}
BAICHUAN_CONFIG = {
    "model_type": "baichuan",
    "architectures": ["BaichuanForCausalLM"],
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": FFN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "rms_norm_eps": 1e-6,
}
CONFIGS = {
    "chatglm2": GLM_CONFIG,
    "chatglm2-32k": GLM_CONFIG,
    "chatglm3-32k": GLM_CONFIG,
    "baichuan2-7b": {**BAICHUAN_CONFIG, "max_position_embeddings": 256},
    "baichuan2-13b": {**BAICHUAN_CONFIG, "model_max_length": 256},
}


def write(directory: Path, name: str) -> Weights:
    """The original directory in two files, with a sentencepiece model of 76 pieces."""
    directory.mkdir(parents=True)
    weights = glm_weights() if "glm" in name else baichuan_weights()
    (directory / "config.json").write_text(json.dumps(CONFIGS[name]))
    half = len(weights) // 2
    for number, keys in enumerate((list(weights)[:half], list(weights)[half:]), 1):
        save_file({key: weights[key] for key in keys}, directory / f"model-0000{number}-of-00002.safetensors")
    write_pieces(directory)
    return weights


TEXTS = ["the quick brown fox  jumps", "over the lazy dog", "不同的 话", "  two leading spaces", "Zürich 7"]


def write_pieces(directory: Path) -> None:
    import io

    import sentencepiece

    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS[:2] * 10),
        model_writer=made,
        vocab_size=76,
        model_type="bpe",
        hard_vocab_limit=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        minloglevel=2,
        pad_id=-1,
    )
    (directory / "tokenizer.model").write_bytes(made.getvalue())
    (directory / "generation_config.json").write_text(
        json.dumps({"user_token_id": 5, "assistant_token_id": 6})
    )


def norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt() * weight


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """[heads, length, size] each; `bias` [heads or 1, length, length] with -inf where nothing is seen."""
    scores = q @ k.transpose(1, 2) / SIZE**0.5 + bias
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(LENGTH, HIDDEN)


CAUSAL = torch.full((LENGTH, LENGTH), -torch.inf).triu(1)[None]


def by_heads(x: torch.Tensor) -> torch.Tensor:
    return x.view(LENGTH, -1, SIZE).transpose(0, 1)


def rotated_pairs(x: torch.Tensor, positions: torch.Tensor, base: float) -> torch.Tensor:
    """ChatGLM: the first half of each head, neighbours as pairs."""
    half = SIZE // 2
    angles = positions[:, None] / base ** (torch.arange(0, half, 2) / half)
    turn = torch.polar(torch.ones_like(angles), angles)
    pairs = torch.view_as_complex(x[..., :half].reshape(*x.shape[:-1], -1, 2).contiguous())
    return torch.cat([torch.view_as_real(pairs * turn).flatten(-2), x[..., half:]], dim=-1)


def rotated_halves(x: torch.Tensor) -> torch.Tensor:
    """Llama: element i and element i + size/2 as a pair."""
    angles = torch.arange(LENGTH)[:, None] / 1e4 ** (torch.arange(0, SIZE, 2) / SIZE)
    one, two = x.chunk(2, dim=-1)
    return torch.cat([one * angles.cos() - two * angles.sin(), two * angles.cos() + one * angles.sin()], -1)


def glm_forward(weights: Weights, ids: torch.Tensor, name: str) -> torch.Tensor:
    positions = torch.arange(LENGTH) / (16 if name == "chatglm2-32k" else 1)
    base = 1e4 * (50 if name == "chatglm3-32k" else 1)
    x = weights["transformer.embedding.word_embeddings.weight"][ids]
    for number in range(LAYERS):
        w = {
            key.split(f"layers.{number}.")[1]: value
            for key, value in weights.items()
            if f"layers.{number}." in key
        }
        y = norm(x, w["input_layernorm.weight"], 1e-5)
        joined = y @ w["self_attention.query_key_value.weight"].T + w["self_attention.query_key_value.bias"]
        q = by_heads(joined[:, :HIDDEN])
        k = by_heads(joined[:, HIDDEN : HIDDEN + GROUPS * SIZE]).repeat_interleave(HEADS // GROUPS, 0)
        v = by_heads(joined[:, HIDDEN + GROUPS * SIZE :]).repeat_interleave(HEADS // GROUPS, 0)
        q, k = rotated_pairs(q, positions, base), rotated_pairs(k, positions, base)
        x = x + attention(q, k, v, CAUSAL) @ w["self_attention.dense.weight"].T
        y = norm(x, w["post_attention_layernorm.weight"], 1e-5) @ w["mlp.dense_h_to_4h.weight"].T
        x = x + (functional.silu(y[:, :FFN]) * y[:, FFN:]) @ w["mlp.dense_4h_to_h.weight"].T
    x = norm(x, weights["transformer.encoder.final_layernorm.weight"], 1e-5)
    return x @ weights["transformer.output_layer.weight"].T


def baichuan_forward(weights: Weights, ids: torch.Tensor, name: str) -> torch.Tensor:
    bias = CAUSAL
    if name == "baichuan2-13b":  # 6 heads: the slopes of 4, then every other one of 8
        slopes = torch.tensor([2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3])
        bias = CAUSAL + slopes[:, None, None] * torch.arange(LENGTH)
    x = weights["model.embed_tokens.weight"][ids]
    for number in range(LAYERS):
        w = {
            key.split(f"layers.{number}.")[1]: value
            for key, value in weights.items()
            if f"layers.{number}." in key
        }
        y = norm(x, w["input_layernorm.weight"], 1e-6) @ w["self_attn.W_pack.weight"].T
        q, k, v = (by_heads(part) for part in y.split(HIDDEN, dim=1))
        if name == "baichuan2-7b":
            q, k = rotated_halves(q), rotated_halves(k)
        x = x + attention(q, k, v, bias) @ w["self_attn.o_proj.weight"].T
        y = norm(x, w["post_attention_layernorm.weight"], 1e-6)
        gate, up = y @ w["mlp.gate_proj.weight"].T, y @ w["mlp.up_proj.weight"].T
        x = x + (functional.silu(gate) * up) @ w["mlp.down_proj.weight"].T
    head = weights["lm_head.weight"]
    return norm(x, weights["model.norm.weight"], 1e-6) @ (head / head.norm(dim=1, keepdim=True)).T


def check(directory: Path, name: str) -> dict[str, Any]:
    import sentencepiece
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from jobs.training.convert import convert

    source, target = directory / name / "source", directory / name / "converted"
    weights = write(source, name)
    convert(source, target, variant=name if "glm" in name else "")
    model = AutoModelForCausalLM.from_pretrained(target)
    ids = torch.randint(VOCABULARY, (LENGTH,))
    forward = glm_forward if "glm" in name else baichuan_forward
    expected = forward(weights, ids, name)
    found = {}
    for attention_kind in ("sdpa", "eager"):
        model.set_attn_implementation(attention_kind)
        with torch.no_grad():
            found[attention_kind] = (model(input_ids=ids[None]).logits[0] - expected).abs().max().item()
    tokenizer = AutoTokenizer.from_pretrained(target)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    found["texts"] = [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]
    found["pieces"] = [pieces.encode(text) for text in TEXTS]
    if name == "baichuan2-13b":
        found |= check_alibi(model, ids)
    chat = [{"role": "user", "content": "the fox"}, {"role": "assistant", "content": "the dog"}]
    found["chat"] = tokenizer.apply_chat_template(chat, tokenize=False)
    return found


def check_alibi(model: Any, ids: torch.Tensor) -> dict[str, Any]:
    """Padded left, packed, and token by token with a cache, against the row alone."""
    with torch.no_grad():
        alone = model(input_ids=ids[None]).logits[0]
        padded = model(
            input_ids=torch.cat([ids.new_zeros(5), ids])[None],
            attention_mask=torch.tensor([[0] * 5 + [1] * LENGTH]),
        ).logits[0, 5:]
        positions = torch.arange(LENGTH).repeat(2)[None]
        packed = model(input_ids=ids.flip(0).repeat(2)[None], position_ids=positions, use_cache=False).logits
        flipped = model(input_ids=ids.flip(0)[None]).logits[0]
        cache, cached = None, []
        for part in (ids[:12], *ids[12:].split(1)):
            answer = model(input_ids=part[None], past_key_values=cache, use_cache=True)
            cache = answer.past_key_values
            cached.append(answer.logits[0])
    return {
        "padded": (padded - alone).abs().max().item(),
        "packed": (packed[0, LENGTH:] - flipped).abs().max().item(),
        "cached": (torch.cat(cached) - alone).abs().max().item(),
    }


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    print(json.dumps({name: check(root, name) for name in CONFIGS}))
