"""A sentencepiece model -> tokenizer.json, which the trainer needs to find the replies in a text, with the chat
template of the family.

transformers' own conversions lose one of two leading spaces or need the repository's code. This one gives the same
tokens as sentencepiece.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from jobs.training.events import TrainingFailure
from jobs.training.original import CHATGLM

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6  # sentencepiece's types of a piece

# The special tokens follow the pieces, in this order; the roles are ChatGLM3's.
GLM_SPECIALS = ("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop")
GLM_ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")

GLM3_TEMPLATE = (
    "[gMASK]sop"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n ' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n ' }}{% endif %}"
)
GLM2_TEMPLATE = (
    "[gMASK]sop"
    "{% set ns = namespace(round=0) %}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'user' %}{% set ns.round = ns.round + 1 %}"
    "{{ '[Round ' + ns.round|string + ']\n\n问:' + message['content'] + '\n\n答:' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
BAICHUAN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ 'USER_TOKEN' + message['content'] + 'ASSISTANT_TOKEN' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
)
# Baichuan2's generation_config.json names them; these are its usual ones.
BAICHUAN_ROLES = {"user_token_id": 195, "assistant_token_id": 196}


def convert_tokenizer(source: Path, target: Path, kind: str, variant: str) -> None:
    """Write tokenizer.json and what belongs to it; `variant` tells the roles of a ChatGLM. Raises TrainingFailure."""
    if (source / "tokenizer.json").exists():  # somebody has done it before
        for name in (
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "chat_template.jinja",
        ):
            if (source / name).exists():
                shutil.copyfile(source / name, target / name)
        return
    path = source / "tokenizer.model"
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]  # made at run time
    try:
        model.ParseFromString(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _failure(source, f"tokenizer.model cannot be read ({error})") from None
    except Exception as error:  # protobuf's DecodeError, whose place differs between its implementations
        raise _failure(source, f"tokenizer.model is no sentencepiece model ({error})") from None
    if not model.pieces:
        raise _failure(source, "tokenizer.model holds no pieces")
    tokenizer = from_pieces(model)
    names = [piece.piece for piece in model.pieces]
    if kind == CHATGLM:
        vocabulary = json.loads((source / "config.json").read_text())["padded_vocab_size"]
        is_third = variant.startswith("chatglm3")
        specials = (*GLM_SPECIALS, *(GLM_ROLES if is_third else ()))
        if len(names) + len(specials) > vocabulary:
            raise _failure(source, f"its tokenizer has more than the {vocabulary} tokens of its weights")
        tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in specials])
        template = GLM3_TEMPLATE if is_third else GLM2_TEMPLATE
        special = {"pad_token": names[0], "eos_token": names[2], "unk_token": names[0]}
    else:
        template = _baichuan_template(source, names)
        special = {"pad_token": names[0], "bos_token": names[1], "eos_token": names[2], "unk_token": names[0]}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=template,
        clean_up_tokenization_spaces=False,
        **special,
    ).save_pretrained(target)


def _failure(source: Path, reason: str) -> TrainingFailure:
    return TrainingFailure(
        "conversion_failed",
        f"The tokenizer in {source} cannot be converted: {reason}.",
        path=str(source),
        reason=reason,
    )


def from_pieces(model: Any) -> Tokenizer:
    """The BPE of a sentencepiece model: a merge for every way to cut a piece into two pieces, best score first."""
    vocabulary = {piece.piece: number for number, piece in enumerate(model.pieces)}
    merges = []
    for number, piece in enumerate(model.pieces):
        text = piece.piece
        if piece.type == NORMAL:
            merges += [
                (-piece.score, number, vocabulary[text[:cut]], (text[:cut], text[cut:]))
                for cut in range(1, len(text))
                if text[:cut] in vocabulary and text[cut:] in vocabulary
            ]
    merges.sort()
    unknown = next((piece.piece for piece in model.pieces if piece.type == UNKNOWN), None)
    has_bytes = any(piece.type == BYTE for piece in model.pieces)
    tokenizer = Tokenizer(
        models.BPE(
            vocabulary,
            [pair for *_, pair in merges],
            unk_token=unknown,
            byte_fallback=has_bytes,
            fuse_unk=True,
        )
    )
    prefix = [normalizers.Prepend("▁")] if model.normalizer_spec.add_dummy_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prefix else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(piece.piece, normalized=False, special=True)
            for piece in model.pieces
            if piece.type in (UNKNOWN, CONTROL)
        ]
    )
    tokenizer.add_tokens(
        [AddedToken(piece.piece, normalized=False) for piece in model.pieces if piece.type == USER_DEFINED]
    )
    return tokenizer


def _baichuan_template(source: Path, names: list[str]) -> str:
    path = source / "generation_config.json"
    about = json.loads(path.read_text()) if path.exists() else {}
    template = BAICHUAN_TEMPLATE
    for key, usual in BAICHUAN_ROLES.items():
        number = about.get(key, usual)
        if number >= len(names):
            raise _failure(source, f"{key} {number} is none of its {len(names)} tokens")
        template = template.replace(key.removesuffix("_id").upper(), names[number])
    return template
