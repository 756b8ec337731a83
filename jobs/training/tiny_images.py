"""Tiny base models that draw or see pictures, for tests and for trying the product without a download.

    python -m jobs.training.tiny OUT_DIR --architecture sdxl --texts conversations.jsonl

Complete directories of the real classes, with tokenizers trained on the given texts. They learn for a minute to
draw or to name shapes, so that fine-tuning starts from a model that half knows its work. The same arguments give
the same files.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.training.rows import IGNORED
from jobs.training.tiny import EOS, GAINS, make_tokenizer, read_texts, sharpen
from jobs.training.tiny_pictures import SIZE, draw_shape, make_thumbnailer

VOCABULARY = 1024
PICTURES = 512  # that pre-training draws
QUESTION = "What is this?"
GAIN = GAINS["llama"]  # of the language model that sees, see tiny.sharpen
IMAGE = "<image>"

# As LLaVA-v1.6's own: the pictures of a turn come before its text, and nothing closes a reply.
LLAVA_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)

Conversations = list[list[dict[str, str]]]


def make_sdxl(conversations: Conversations) -> Any:
    """StableDiffusionXLPipeline for pictures of 64 pixels: a U-Net and two CLIP text encoders, 2 million
    parameters."""
    import torch
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizer = make_clip_tokenizer(conversations)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        projection_dim=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,  # CLIP pools at this token, and its default is another one
        pad_token_id=tokenizer.pad_token_id,
    )
    text_encoders = CLIPTextModel(text), CLIPTextModelWithProjection(text)
    for encoder in text_encoders:  # with the usual small weights, all prompts would look alike to the U-Net
        torch.nn.init.normal_(encoder.get_input_embeddings().weight)
    return StableDiffusionXLPipeline(
        vae=make_autoencoder(AutoencoderKL),
        text_encoder=text_encoders[0],
        text_encoder_2=text_encoders[1],
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=16,  # latents; a quarter of the 64 pixels
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=(2, 4),
            transformer_layers_per_block=(1, 2),
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=80,  # 6 figures of 8, and the pooled text of 32
            cross_attention_dim=64,  # both text encoders side by side
            use_linear_projection=True,
            norm_num_groups=16,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            prediction_type="v_prediction",
        ),
    )


def make_ernie_image(conversations: Conversations) -> Any:
    """ErnieImagePipeline for pictures of 64 pixels."""
    import torch
    from diffusers import (
        AutoencoderKLFlux2,
        ErnieImagePipeline,
        ErnieImageTransformer2DModel,
        FlowMatchEulerDiscreteScheduler,
    )
    from transformers import Mistral3Config, Mistral3Model

    tokenizer = make_tokenizer(conversations, VOCABULARY)
    text = {
        "model_type": "ministral3",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    vision = {
        "model_type": "pixtral",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "head_dim": 8,
        "image_size": 32,
        "patch_size": 8,
    }
    transformer = ErnieImageTransformer2DModel(
        hidden_size=64,
        num_attention_heads=4,
        num_layers=2,
        ffn_hidden_size=128,
        in_channels=16,  # 4 latent channels in patches of 2 x 2
        out_channels=16,
        text_in_dim=32,
        rope_axes_dim=(4, 6, 6),
    )
    # These start at zero, and then a new adapter elsewhere would get no gradient at all.
    for layer in (transformer.final_linear, transformer.adaLN_modulation[-1]):
        torch.nn.init.normal_(layer.weight, std=0.02)
    return ErnieImagePipeline(
        transformer=transformer,
        vae=make_autoencoder(AutoencoderKLFlux2),
        text_encoder=Mistral3Model(Mistral3Config(text_config=text, vision_config=vision)),
        tokenizer=tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=4.0),
    )


class Pair:
    """A model and its processor, saved into one directory as transformers does."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor

    def save_pretrained(self, output: Path) -> None:
        self.model.save_pretrained(output)
        self.processor.save_pretrained(output)


def make_llava_next(conversations: Conversations) -> Pair:
    """LlavaNextForConditionalGeneration that sees tiles of 32 pixels in patches of 8, up to 88 tokens a picture."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextProcessor,
    )
    from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

    tokenizer = make_tokenizer(conversations, VOCABULARY)
    tokenizer.add_tokens(IMAGE, special_tokens=True)
    tokenizer.chat_template = LLAVA_TEMPLATE
    tile, patch = 32, 8
    grids = [[tile, 2 * tile], [2 * tile, tile], [2 * tile, 2 * tile]]
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            projection_dim=32,
            image_size=tile,
            patch_size=patch,
        ),
        text_config=LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_grid_pinpoints=grids,
        tie_word_embeddings=False,
    )
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(
            size={"shortest_edge": tile},
            crop_size={"height": tile, "width": tile},
            image_grid_pinpoints=grids,
        ),
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    model = LlavaNextForConditionalGeneration(config)
    # The usual small random weights would make all pictures look alike to the language model.
    for part in (model.model.vision_tower, model.model.multi_modal_projector):
        for layer in part.modules():
            if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                torch.nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    return Pair(model, processor)


ARCHITECTURES: dict[str, Callable[[Conversations], Any]] = {
    "sdxl": make_sdxl,
    "ernie_image": make_ernie_image,
    "llava_next": make_llava_next,
}


def make_autoencoder(kind: Any) -> Any:
    """Pictures of 64 pixels to latents of 4 x 16 x 16 and back."""
    autoencoder = kind(
        block_out_channels=(16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        sample_size=SIZE,
    )
    make_thumbnailer(autoencoder)
    if "scaling_factor" in autoencoder.config:
        autoencoder.register_to_config(scaling_factor=1.5)  # brings the spread of the latents to about 1
    return autoencoder


def make_clip_tokenizer(conversations: Conversations) -> Any:
    """CLIP's kind of BPE, trained on the texts: lower case, words that end with </w>, 77 tokens a prompt."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    start, end = "<|startoftext|>", "<|endoftext|>"
    tokenizer = Tokenizer(models.BPE(unk_token=end, end_of_word_suffix="</w>"))
    like = CLIPTokenizer(vocab={start: 0, end: 1}, merges=[]).backend_tokenizer
    tokenizer.normalizer, tokenizer.pre_tokenizer = like.normalizer, like.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[start, end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [message["content"] for conversation in conversations for message in conversation], trainer
    )
    learned = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    return CLIPTokenizer(vocab=learned["vocab"], merges=merges, model_max_length=77)


def learn_to_draw(path: Path, steps: int, seed: int) -> float:
    """Pre-train the network of the pipeline in `path` on drawn shapes; returns the mean loss of the last steps."""
    import torch

    from jobs.training.diffusion import find_family

    family = find_family(path)(path, torch.float32, torch.float32, "cpu")
    rng = random.Random(seed)  # noqa: S311
    drawn = [draw_shape(rng) for _ in range(PICTURES)]
    nothing = family.encode_nothing()
    rows = [
        # Some have no words, because guidance compares drawing with words to drawing without.
        family.encode_picture(picture) | (family.encode_prompt(words) if rng.random() < 0.9 else nothing)
        for picture, words in drawn
    ]
    family.network.train()
    loss = optimise(
        family.network,
        lambda chosen: family.loss(family.collate([rows[index] for index in chosen]), None),
        len(rows),
        steps,
    )
    family.network.save_pretrained(path / family.network_name)
    return loss


def learn_to_name(pair: Pair, steps: int, seed: int) -> float:
    """Pre-train the model on describing drawn shapes; returns the mean loss of the last steps."""
    import torch
    from torch.nn import functional

    rng = random.Random(seed)  # noqa: S311
    model, processor = pair.model, pair.processor
    drawn = [draw_shape(rng) for _ in range(PICTURES)]

    def loss(chosen: list[int]) -> Any:
        texts = [f"<s>USER: {IMAGE}\n{QUESTION} ASSISTANT: {drawn[index][1]}{EOS}" for index in chosen]
        batch = processor(
            images=[drawn[index][0] for index in chosen],
            text=texts,
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
        )
        targets = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
        targets = targets.masked_fill(targets == processor.image_token_id, IGNORED)[:, 1:]
        logits = model(**batch, use_cache=False).logits[:, :-1]
        return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    model.train()
    last = optimise(model, loss, len(drawn), steps)
    sharpen(model.model.language_model, GAIN)
    with torch.no_grad():
        model.lm_head.weight /= GAIN
    return last


def optimise(model: Any, loss_of: Callable[[list[int]], Any], rows: int, steps: int) -> float:
    """AdamW on batches of 8 random rows; returns the mean loss of the last steps."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    losses = []
    for _ in range(steps):
        loss = loss_of(torch.randint(rows, (8,)).tolist())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return sum(losses[-20:]) / len(losses[-20:])


def make(output: Path, architecture: str, texts: Path, seed: int = 0, *, steps: int = 200) -> None:
    """Write the model directory and print what was made. Drawing takes twice the steps to learn."""
    import torch
    from transformers import logging, set_seed

    logging.disable_progress_bar()
    torch.set_num_threads(1)
    conversations = read_texts(texts)
    set_seed(seed)
    made = ARCHITECTURES[architecture](conversations)
    learned = ""
    if steps and isinstance(made, Pair):
        learned = f", loss {learn_to_name(made, steps, seed):.2f}"
    made.save_pretrained(output)
    if steps and not isinstance(made, Pair):
        learned = f", loss {learn_to_draw(output, 2 * steps, seed):.2f}"
    print(f"{output}: {architecture}{learned}")
