"""The files of a directory of weights, looked at without loading them: no torch in here."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from jobs.training.events import TrainingFailure
from jobs.training.original import kind_of
from jobs.training.spec import Spec

INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
PIPELINES = ("image",)  # the trainers whose weights are several directories, which they check themselves


def missing(path: Path, reason: str) -> TrainingFailure:
    return TrainingFailure(
        "weights_missing", f"The base model in {path} cannot be used: {reason}.", path=str(path)
    )


def broken(path: Path, reason: str) -> TrainingFailure:
    reason = " ".join(reason.split()).rstrip(".")
    return TrainingFailure(
        "weights_broken", f"The weights in {path} cannot be loaded: {reason}.", path=str(path), reason=reason
    )


def check_weights(path: Path) -> list[Path]:
    """The weight files of a model directory, each opened once. Raises TrainingFailure naming the wrong one."""
    if not path.is_dir():
        raise missing(path, "the directory does not exist")
    if (path / "adapter_config.json").exists():
        raise missing(path, "it holds a LoRA adapter, and training starts from full weights")
    if not (path / "config.json").exists():
        raise missing(path, "config.json is missing")
    if kind := kind_of(path):
        raise missing(
            path,
            f"it is a {kind} in its original layout; convert it with python -m jobs.training.convert, "
            "or bind it to a base model, which does that",
        )
    files = sorted(path.glob("*.safetensors"))
    if (path / INDEX).exists():
        try:
            names = set(json.loads((path / INDEX).read_text())["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            raise broken(path, f"{INDEX} is not a valid index") from None
        if lost := sorted(names - {file.name for file in files}):
            raise missing(path, f"{lost[0]} is missing")
    if not files:
        if any(file for pattern in PICKLED for file in path.glob(pattern)):
            raise missing(
                path, "it has no *.safetensors, and pickled weights are not loaded; convert them first"
            )
        raise missing(path, "it has no *.safetensors")
    for file in files:
        try:
            # Only the header is read; numpy is loaded sooner than torch.
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise broken(path, f"{file.name} is damaged ({error})") from None
    return files


def check_mergeable(spec: Spec) -> None:
    """Raises TrainingFailure where the weights that an adapter would be merged into are missing or damaged."""
    if spec.trainer not in PIPELINES:
        check_weights(Path(spec.base.path))
