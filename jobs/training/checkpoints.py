"""Which checkpoints of a run directory can be trusted. Standard library only.

transformers writes a checkpoint file by file, `trainer_state.json` last, and resumes from the highest number
even when optimizer or random state are missing: with other results, without a word. So we choose here.
"""

import json
import shutil
import zipfile
from pathlib import Path

from jobs.training.ranks import rank, world_size

PREFIX = "checkpoint-"
SHARD_SIZE = "5GB"  # of the files that larger weights are saved in
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
STATES = ("optimizer.pt", "scheduler.pt")
ORIGIN = "Origin"  # the callback that leaves word in trainer_state.json


def step_of(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))


def list_checkpoints(directory: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted((path for path in _folders(directory) if is_complete(path)), key=step_of)


def is_complete(path: Path) -> bool:
    """Whether everything that a resumed run needs is there and whole."""
    if not any((path / name).exists() for name in WEIGHTS):
        return False
    state = training_state(path)
    if state is None or not all(map(_is_whole, path.glob("*.safetensors"))):
        return False
    return all(zipfile.is_zipfile(path / name) for name in (*STATES, *_random_states(state)))


def origin(state: dict) -> dict[str, int]:
    """How many `processes` wrote a checkpoint and how many `rows` its steps had, by its `training_state`. Those of
    earlier releases do not say the rows; they were resumed by as many processes as are there now.
    """
    callbacks = state.get("stateful_callbacks") or {}
    return {"processes": world_size()} | callbacks.get(ORIGIN, {}).get("attributes", {})


def _random_states(state: dict) -> list[str]:
    """The files of random states: one, or one for each of the processes that had trained together. Other processes
    may resume from them: weights, optimiser, scheduler and the place in the data are common to all, and only what is
    drawn at random in the model (dropout) goes another way.
    """
    processes = origin(state)["processes"]
    if processes == 1:
        return ["rng_state.pth"]
    return [f"rng_state_{number}.pth" for number in range(processes)]


def training_state(path: Path) -> dict | None:
    """The trainer's own state in a checkpoint: global_step, log_history, …; None when it is not readable."""
    try:
        state = json.loads((path / "trainer_state.json").read_text())
    except (OSError, ValueError):
        return None
    return state if state.get("global_step") == step_of(path) else None


def remove_incomplete(directory: Path) -> None:
    """Delete what a killed process left half written, so that it neither counts nor is resumed from."""
    for path in _folders(directory) if rank() == 0 else ():
        if not is_complete(path):
            shutil.rmtree(path)


def size_of(path: Path) -> int:
    """Bytes of all files below `path`."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _folders(directory: Path) -> list[Path]:
    return [p for p in directory.glob(f"{PREFIX}*") if p.is_dir() and p.name.removeprefix(PREFIX).isdecimal()]


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says (8 bytes of length, JSON header, data)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return False
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return path.stat().st_size == 8 + length + max(ends, default=0)
