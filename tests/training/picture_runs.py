"""Run directories with drawn pictures, for the trainers that draw or see."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from tests import forks
from tests.training.runs import Run, conversation, make_run

COLOURS, SHAPES = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle")
WORDS = list(product(COLOURS, SHAPES))


def draw(path: Path, colour: str, shape: str, size: tuple[int, int] = (72, 64)) -> None:
    """A shape on white, a little wider than high."""
    picture = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(picture)
    if shape == "circle":
        pen.ellipse((20, 12, 56, 48), fill=colour)
    elif shape == "square":
        pen.rectangle((20, 12, 56, 48), fill=colour)
    else:
        pen.polygon(((38, 8), (58, 50), (18, 50)), fill=colour)
    picture.save(path)


def caption(colour: str, shape: str) -> dict[str, Any]:
    return {"image": f"images/{colour}-{shape}.png", "prompt": f"a {colour} {shape}"}


def question(colour: str, shape: str) -> dict[str, Any]:
    talk = conversation("<image>\nWhat is this?", f"A {colour} {shape}.")
    return {"image": f"images/{colour}-{shape}.png", **talk}


def make_models(directory: Path) -> None:
    """One tiny model of each architecture in one process, random weights."""
    texts = directory / "texts.jsonl"
    texts.write_text("".join(json.dumps(question(*words)) + "\n" for words in WORDS))
    script = (
        "from pathlib import Path\n"
        "from jobs.training.tiny_images import ARCHITECTURES, make\n"
        "for name in ARCHITECTURES:\n"
        f"    make(Path({str(directory)!r}) / name, name, Path({str(texts)!r}), steps=0)\n"
    )
    forks.run(script).check_returncode()


def new_run(
    path: Path,
    base: Path,
    trainer: str,
    method: str,
    rows: list[dict[str, Any]],
    eval_rows: list[dict[str, Any]] | None = None,
    **values: Any,
) -> Run:
    """A run directory with every picture of WORDS in data/images."""
    (path / "data" / "images").mkdir(parents=True)
    for colour, shape in WORDS:
        draw(path / "data" / "images" / f"{colour}-{shape}.png", colour, shape)
    return make_run(path, base, trainer, method, rows, eval_rows, **values)


def outside(script: str, cwd: Path) -> dict[str, Any]:
    """What a script prints as JSON that knows nothing of this project, only the public libraries."""
    result = forks.run(f"import sys; assert 'jobs' not in sys.modules\n{script}", cwd=cwd, inside=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])
