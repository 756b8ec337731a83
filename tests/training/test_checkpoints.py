"""Only whole checkpoints are resumed from, whichever file a kill left missing or short."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.training.checkpoints import list_checkpoints, remove_incomplete


def make_checkpoint(directory: Path, step: int) -> Path:
    path = directory / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"w": np.ones(100)}, path / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(path / name, "w") as archive:
            archive.writestr("data", "x" * 100)
    (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    return path


def test_checkpoints_are_listed_by_step(tmp_path):
    paths = [make_checkpoint(tmp_path, step) for step in (100, 9, 20)]
    assert list_checkpoints(tmp_path) == [paths[1], paths[2], paths[0]]


@pytest.mark.parametrize(
    "name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
)
@pytest.mark.parametrize("damage", ["missing", "short", "empty"])
def test_damaged_checkpoint_is_passed_over_and_removed(tmp_path, name, damage):
    whole, damaged = make_checkpoint(tmp_path, 1), make_checkpoint(tmp_path, 2)
    content = (damaged / name).read_bytes()
    if damage == "missing":
        (damaged / name).unlink()
    else:
        (damaged / name).write_bytes(content[:-5] if damage == "short" else b"")
    assert list_checkpoints(tmp_path) == [whole]
    remove_incomplete(tmp_path)
    assert whole.exists() and not damaged.exists()
