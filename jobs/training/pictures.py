"""Picture files -> pixels, and the rows that name them. Failures name the data file, the line and the picture."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy
import torch
from PIL import Image, ImageOps

from jobs.training.events import TrainingFailure


class Caption(msgspec.Struct):
    """One canonical row of the type image_caption; `image` is relative to the data file's directory."""

    image: str
    prompt: str
    line: int = 0


def read_captions(path: Path) -> list[Caption]:
    """All rows of a JSON Lines file of captions. Raises TrainingFailure naming the file and the line."""
    decoder = msgspec.json.Decoder(Caption)
    rows = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = decoder.decode(line)
                except msgspec.DecodeError as error:
                    raise bad_caption(path, number, str(error)) from None
                if not row.prompt.strip():
                    raise bad_caption(path, number, "its prompt is empty")
                row.line = number
                rows.append(row)
    except FileNotFoundError:
        message = f"The data file {path} does not exist."
        raise TrainingFailure("data_missing", message, path=str(path)) from None
    return rows


def bad_caption(path: Path, line: int, reason: str) -> TrainingFailure:
    message = f"{path.name}, line {line} is not a usable picture with a prompt: {reason.rstrip('.')}."
    return TrainingFailure("data_row_invalid", message, file=path.name, line=line, reason=reason)


def open_picture(data_file: Path, line: int, name: str) -> Image.Image:
    """The picture that a row names: decoded, upright, RGB, with white where it was transparent.

    Raises TrainingFailure (image_missing, image_broken).
    """
    path = data_file.parent / name
    if not path.resolve().is_relative_to(data_file.parent.resolve()):
        raise _failure("image_missing", data_file, line, name, "lies outside of the data directory")
    if not path.is_file():
        raise _failure("image_missing", data_file, line, name, "does not exist")
    try:
        with Image.open(path) as file:
            file.load()
            picture = ImageOps.exif_transpose(file)
    # Pillow's plugins raise many kinds of errors on damaged data; all mean the same here.
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise _failure("image_broken", data_file, line, name, reason) from error
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _failure(
    code: Literal["image_missing", "image_broken"], data_file: Path, line: int, name: str, reason: str
) -> TrainingFailure:
    what = f"cannot be read ({reason})" if code == "image_broken" else reason
    message = f"{data_file.name}, line {line}: the picture {name} {what}."
    return TrainingFailure(code, message, file=data_file.name, line=line, image=name, reason=reason)


def fill_square(picture: Image.Image, size: int) -> tuple[Image.Image, tuple[int, int]]:
    """Scale the shorter side to `size` pixels and cut the middle out of the longer one.

    Returns the square and the (top, left) pixel of the scaled picture that it starts at.
    """
    scale = size / min(picture.size)
    width, height = (max(size, round(length * scale)) for length in picture.size)
    scaled = picture.resize((width, height), Image.Resampling.LANCZOS)
    left, top = (width - size) // 2, (height - size) // 2
    return scaled.crop((left, top, left + size, top + size)), (top, left)


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """Float tensor (3, height, width) from -1 to 1, as the autoencoders read pictures."""
    pixels = numpy.asarray(picture, dtype=numpy.float32) / 127.5 - 1
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
