"""The files of a directory of weights, looked at without loading them: no torch in here."""

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from jobs.training.events import TrainingFailure
from jobs.training.original import kind_of
from jobs.training.spec import Spec

INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
OF_A_LAYER = re.compile(r"\.(?:layers|h)\.\d+\..*weight$")  # as in model.layers.7.mlp.up_proj.weight
PIPELINES = ("image",)  # the trainers whose weights are several directories, which they check themselves


def missing(path: Path, reason: str, why: str = "", name: str = "") -> TrainingFailure:
    """A failure that says what is not there. `why` is the code of the reason, by which the console says it in the
    reader's language, with the `name` of the file or tensor.
    """
    return TrainingFailure(
        "weights_missing",
        f"The base model in {path} cannot be used: {reason}.",
        path=str(path),
        reason=reason,
        why=why,
        name=name,
    )


def broken(path: Path, reason: str, why: str = "", name: str = "") -> TrainingFailure:
    """The same of what is there and wrong."""
    reason = " ".join(reason.split()).rstrip(".")
    return TrainingFailure(
        "weights_broken",
        f"The weights in {path} cannot be loaded: {reason}.",
        path=str(path),
        reason=reason,
        why=why,
        name=name,
    )


def check_loaded(path: Path, info: dict[str, Any], may_be_new: Collection[str] = ()) -> None:
    """Raises TrainingFailure naming a tensor that a library has told of in its loading info: missing, in another
    shape than the configuration says, or of a layer that the configuration does not have.
    """
    if lost := sorted(set(info["missing_keys"]) - set(may_be_new)):
        reason = f"the tensor {lost[0]} is missing ({len(lost)} in all)"
        raise broken(path, reason, "tensor_missing", lost[0])
    if other := sorted(info["mismatched_keys"]):
        name, *shapes = other[0]
        told = "".join(f" {word} {list(shape)}" for word, shape in zip(("has", "not"), shapes, strict=False))
        raise broken(
            path, f"the tensor {name} has another shape than config.json says:{told}", "tensor_shape", name
        )
    if further := sorted(name for name in info["unexpected_keys"] if OF_A_LAYER.search(name)):
        reason = f"the tensor {further[0]} belongs to a layer that config.json does not have ({len(further)} in all)"
        raise broken(path, reason, "tensor_unknown", further[0])


def check_config(path: Path) -> None:
    """Raises TrainingFailure where config.json is no JSON object."""
    try:
        is_object = isinstance(json.loads((path / "config.json").read_bytes()), dict)
    except ValueError:
        is_object = False
    if not is_object:
        raise missing(path, "config.json is not valid JSON", "not_json", "config.json")


def check_weights(path: Path) -> list[Path]:
    """The weight files of a model directory, each opened once. Raises TrainingFailure naming the wrong one."""
    if not path.is_dir():
        raise missing(path, "the directory does not exist", "no_directory")
    if (path / "adapter_config.json").exists():
        raise missing(path, "it holds a LoRA adapter, and training starts from full weights")
    if not (path / "config.json").exists():
        raise missing(path, "config.json is missing", "file_missing", "config.json")
    check_config(path)
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
        except (ValueError, KeyError, AttributeError, TypeError):
            raise broken(path, f"{INDEX} is not a valid index", "not_json", INDEX) from None
        if lost := sorted(names - {file.name for file in files}):
            raise missing(path, f"{lost[0]} is missing", "file_missing", lost[0])
    if not files:
        if any(file for pattern in PICKLED for file in path.glob(pattern)):
            raise missing(
                path, "it has no *.safetensors, and pickled weights are not loaded; convert them first"
            )
        raise missing(path, "it has no *.safetensors", "file_missing", "*.safetensors")
    for file in files:
        try:
            # Only the header is read; numpy is loaded sooner than torch.
            with safe_open(file, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise broken(path, f"{file.name} is damaged ({error})", "file_damaged", file.name) from None
    return files


def check_mergeable(spec: Spec) -> None:
    """Raises TrainingFailure where the weights that an adapter would be merged into are missing or damaged."""
    if spec.trainer not in PIPELINES:
        check_weights(Path(spec.base.path))
