"""Picture files to pixels: upright, RGB, square, and nothing outside of the data directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from jobs.training.events import TrainingFailure
from jobs.training.pictures import fill_square, open_picture, to_tensor


def test_transparency_becomes_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert open_picture(tmp_path / "train.jsonl", 1, "a.png").getpixel((0, 0)) == (255, 255, 255)


def test_a_phone_picture_stands_upright(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 4))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert open_picture(tmp_path / "train.jsonl", 1, "a.jpg").size == (4, 8)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname"])
def test_a_path_out_of_the_data_directory_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    with pytest.raises(TrainingFailure, match="outside") as failure:
        open_picture(tmp_path / "data" / "train.jsonl", 3, name)
    assert failure.value.params["line"] == 3


def test_a_text_file_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(TrainingFailure) as failure:
        open_picture(tmp_path / "train.jsonl", 1, "a.png")
    assert failure.value.code == "image_broken"


def test_the_middle_of_a_wide_picture_is_kept() -> None:
    picture = Image.new("RGB", (300, 100), "black")
    picture.paste("white", (100, 0, 200, 100))
    square, corner = fill_square(picture, 50)
    assert (square.size, corner) == ((50, 50), (0, 50))
    assert to_tensor(square)[:, :, 5:45].min() > 0.9
