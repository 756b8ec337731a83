"""Answers of a model that sees one picture."""

import base64
import binascii
import io
from typing import Any

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from transformers import AutoModelForImageTextToText

from jobs.training.picture_rows import MARK, PictureTokenizer
from jobs.training.serving_protocol import Refused, Task, Turn
from jobs.training.serving_text import TextModel, as_batch, tokens_of
from jobs.training.spec import Base
from jobs.training.vision import _load_processor


class VisionModel(TextModel):
    """A text model with a processor; the picture stands where the data of its training have it, before the text."""

    auto_class = AutoModelForImageTextToText

    def load_tokenizer(self, base: Base, model: Any) -> None:
        self.processor = _load_processor(base, model.config)
        self.tokenizer, self.template = self.processor.tokenizer, PictureTokenizer(self.processor)

    def inputs(self, task: Task) -> dict[str, torch.Tensor]:
        turns = [Turn(turn.role, turn.content.replace(MARK, " ")) for turn in task.turns]
        if task.picture is None:
            return as_batch(tokens_of(self.template, self.tokenizer, turns))
        picture = _open(task.picture)
        first = next(index for index, turn in enumerate(turns) if turn.role == "user")
        turns[first] = Turn("user", f"{MARK}\n{turns[first].content}")
        ids = tokens_of(self.template, self.tokenizer, turns)
        mark = self.processor.image_token_id
        if ids.count(mark) != 1:
            raise Refused("invalid_value", "The model's chat template leaves out the picture.", "messages")
        size = self.processor._get_num_multimodal_tokens(image_sizes=[(picture.height, picture.width)])
        place = ids.index(mark)
        batch = as_batch([*ids[:place], *[mark] * size["num_image_tokens"][0], *ids[place + 1 :]])
        seen = self.processor.image_processor(images=[picture], return_tensors="pt")
        return batch | {key: seen[key] for key in ("pixel_values", "image_sizes")}


def _open(encoded: str) -> Image.Image:
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (
        UnidentifiedImageError,
        OSError,
        ValueError,
        binascii.Error,
        Image.DecompressionBombError,
    ) as error:
        raise Refused(
            "invalid_image", "The picture cannot be read; send a PNG, JPEG or WebP file.", "messages"
        ) from error
