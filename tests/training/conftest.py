"""Tiny base models, made once, and run directories on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.training.picture_runs import make_models
from tests.training.runs import ARCHITECTURES, ROWS, Run, make_run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one tiny model of each architecture, random weights."""
    directory = tmp_path_factory.mktemp("models")
    texts = directory / "texts.jsonl"
    texts.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    script = (
        "from pathlib import Path\n"
        "from jobs.training.tiny import make\n"
        f"for name in {ARCHITECTURES!r}:\n"
        f"    make(Path({str(directory)!r}) / name, name, Path({str(texts)!r}), hidden=32, steps=0)\n"
    )
    forks.run(script).check_returncode()
    return directory


@pytest.fixture(scope="session")
def picture_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tiny model of each architecture that draws or sees."""
    directory = tmp_path_factory.mktemp("picture-models")
    make_models(directory)
    return directory


@pytest.fixture(scope="session")
def new_run(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Makes a run directory: `new_run("llama", "LoRA", epoch=2, rows=…)`."""

    def make(
        base: str = "llama",
        method: str = "FullFineTuning",
        rows: list[dict] | str = ROWS,
        eval_rows: list[dict] | None = None,
        **values: Any,
    ) -> Run:
        path = tmp_path_factory.mktemp("run")
        return make_run(path, models / base, "text", method, rows, eval_rows, **values)

    return make
