"""Make a tiny base model of a real architecture, for tests and for trying the product without a download.

    python -m jobs.training.tiny OUT_DIR --architecture ernie4_5 --texts conversations.jsonl

The tokenizer is a real BPE, trained on the given conversations; the weights are pre-trained on them for a few
seconds, so that fine-tuning starts from a model that half knows the language. The same arguments give the
same files. `--texts` has canonical rows ({"messages": [...]}) or lists of {"prompt", "response"}, one a line.
"""

import sys
from pathlib import Path

# Before anything else is imported: the installed library `datasets` comes before the app of the same name.
_root = str(Path(__file__).resolve().parents[2])
sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _root] + [_root]

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
from typing import Any  # noqa: E402

CONTEXT = 64  # tokens of a message that pre-training looks at
PAD, BOS, EOS = "<pad>", "<s>", "</s>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")

FIRST_BYTE = 3 + len(ROLES)  # the tokenizer's 256 single bytes come after its special tokens

TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def read_texts(path: Path) -> list[list[dict[str, str]]]:
    """Conversations as lists of {"role", "content"}, from canonical rows or from prompt/response lists."""
    conversations = []
    for line in path.read_text("utf-8").splitlines():
        if not line.strip():
            continue
        row = json.loads(line)
        if isinstance(row, dict):
            conversations.append([{"role": m["role"], "content": m["content"]} for m in row["messages"]])
        else:
            conversations.append(
                [
                    {"role": role, "content": turn[key]}
                    for turn in row
                    for role, key in (("user", "prompt"), ("assistant", "response"))
                ]
            )
    if not conversations:
        raise SystemExit(f"{path} holds no conversations.")
    return conversations


def make_tokenizer(conversations: list[list[dict[str, str]]], vocabulary: int) -> Any:
    """A byte-level BPE that can write every text, with our roles as special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [message["content"] for conversation in conversations for message in conversation]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=list(ROLES),
        chat_template=TEMPLATE,
        model_max_length=8192,
    )


def make_config(architecture: str, vocabulary: int, hidden: int) -> Any:
    """The architecture's own configuration class with tiny sizes."""
    from transformers import (
        BloomConfig,
        Ernie4_5_MoeConfig,
        Ernie4_5Config,
        GlmConfig,
        LlamaConfig,
        MistralConfig,
        MixtralConfig,
    )

    from jobs.training.baichuan import BaichuanAlibiConfig

    heads = 4
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    sizes = {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 2,
        "num_attention_heads": heads,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": False,
        **ids,
    }
    head = {"head_dim": hidden // heads}
    experts = {
        "moe_intermediate_size": hidden // 2,
        "moe_k": 2,
        "moe_num_experts": 4,
        "moe_num_shared_experts": 1,
        "moe_layer_start_index": 1,
    }
    makers = {
        "llama": lambda: LlamaConfig(**sizes),
        "ernie4_5": lambda: Ernie4_5Config(**sizes, **head),
        "ernie4_5_moe": lambda: Ernie4_5_MoeConfig(**sizes, **head, **experts),
        "mistral": lambda: MistralConfig(**sizes, sliding_window=4096),
        "mixtral": lambda: MixtralConfig(**sizes, num_local_experts=4, num_experts_per_tok=2),
        "bloom": lambda: BloomConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            n_layer=2,
            n_head=heads,
            tie_word_embeddings=False,
            **ids,
        ),
        "baichuan_alibi": lambda: BaichuanAlibiConfig(**sizes | {"num_key_value_heads": heads}),
        "glm": lambda: GlmConfig(**sizes, **head, attention_bias=True),
    }
    return makers[architecture]()


# The gain that makes the catalogue's usual learning rate for the architecture visible (see sharpen): 3e-5 for
# ERNIE's full training, 1e-5 for Mixtral's, 1e-6 for the others. Powers of two, so no weight is rounded.
GAINS = {
    "ernie4_5": 64,
    "ernie4_5_moe": 64,
    "mixtral": 256,
    "llama": 2048,
    "mistral": 2048,
    "bloom": 2048,
    "glm": 2048,
    "baichuan_alibi": 2048,
}

# Made by tiny_images.py; of the options, only seed and steps are for them.
WITH_PICTURES = ("sdxl", "ernie_image", "llava_next")


def pretrain(
    model: Any, rows: list[list[int]], steps: int, *, learning_rate: float, noise: float, batch: int = 16
) -> float:
    """Language modelling on the texts; returns the last loss. Draws from torch's seeded generator.

    `noise` is the share of targets that are replaced by random bytes.
    """
    import torch
    from torch.nn import functional

    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=max(1, steps))
    loss = torch.zeros(())
    model.train()
    for _ in range(steps):
        chosen = [rows[index] for index in torch.randint(len(rows), (batch,)).tolist()]
        width = max(map(len, chosen))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in chosen])
        targets = ids[:, 1:].clone()
        is_noise = (torch.rand(targets.shape) < noise) & (targets != 0)
        targets[is_noise] = torch.randint(FIRST_BYTE, FIRST_BYTE + 256, (int(is_noise.sum()),))
        logits = model(input_ids=ids, attention_mask=(ids != 0).long(), use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return loss.item()


NORMS = ("input_layernorm", "post_attention_layernorm", "norm", "ln_f")
READERS = (
    *("q_proj", "k_proj", "v_proj", "query_key_value"),
    *("gate_proj", "up_proj", "gate_up_proj", "dense_h_to_4h", "gate", "lm_head"),
)


def sharpen(model: Any, gain: float) -> None:
    """Multiply what the norms put out by `gain` and divide the weights that read it by the same: the function
    is unchanged, but a step of AdamW, which is as long as the learning rate whatever the weights are, moves
    it `gain` times as far.

    Catalogue learning rates are made for billions of parameters, where thousands of small changes add up in
    every sum. A tiny model has a hundred terms in a sum, and at these rates it would not seem to learn at
    all.
    """
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parts = name.removesuffix(".weight").removesuffix(".bias").split(".")
            if parts[-1] in NORMS:
                parameter *= gain
            elif parts[-1] in READERS and not name.endswith(".bias"):
                parameter /= gain


def make(
    output: Path,
    architecture: str,
    texts: Path,
    seed: int = 0,
    *,
    vocabulary: int = 1024,
    hidden: int = 128,
    steps: int = 200,
    gain: float | None = None,
) -> None:
    """Write the model directory and print what was made.

    The base learns the language from single messages, and then for a moment to expect random bytes. So there
    is something to see in a first fine-tuning: it unlearns the bytes within about ten steps, then learns to
    reply.
    """
    import torch
    from transformers import AutoModelForCausalLM, logging, set_seed

    logging.disable_progress_bar()
    torch.set_num_threads(1)
    conversations = read_texts(texts)
    tokenizer = make_tokenizer(conversations, vocabulary)
    set_seed(seed)
    config = make_config(architecture, len(tokenizer), hidden)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    rows = [tokenizer(text)["input_ids"][:CONTEXT] for text in plain_texts(conversations)]
    loss = pretrain(model, rows, steps, learning_rate=3e-3, noise=0)
    pretrain(model, rows, steps // 8, learning_rate=1e-3, noise=0.8)
    sharpen(model, gain or (GAINS[architecture] if steps else 1))
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    print(f"{output}: {type(model).__name__}, {model.num_parameters():,} parameters, loss {loss:.2f}")


def plain_texts(conversations: list[list[dict[str, str]]]) -> list[str]:
    """Every message alone: the language without the conversation, which is left for fine-tuning to learn."""
    return [BOS + message["content"] for conversation in conversations for message in conversation]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--architecture", choices=[*GAINS, *WITH_PICTURES], required=True)
    parser.add_argument("--texts", type=Path, required=True, help="JSON Lines of conversations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=200, help="of pre-training; 0 leaves random weights")
    parser.add_argument("--hidden", type=int, default=128, help="width of the model")
    parser.add_argument("--vocabulary", type=int, default=1024, help="at most so many tokens")
    parser.add_argument("--gain", type=float, help="see sharpen(); 1 leaves the weights as they are")
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
    if options.architecture in WITH_PICTURES:
        from jobs.training import tiny_images

        tiny_images.make(
            options.output, options.architecture, options.texts, options.seed, steps=options.steps
        )
        return
    make(
        options.output,
        options.architecture,
        options.texts,
        options.seed,
        vocabulary=options.vocabulary,
        hidden=options.hidden,
        steps=options.steps,
        gain=options.gain,
    )


if __name__ == "__main__":
    main()
