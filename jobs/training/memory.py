"""How much memory a run will take, from config.json and the heads of the safetensors files: nothing is loaded.

Used before a run starts, to refuse or advise instead of dying. Standard library only, so the console asks as well.
Weights, gradients and optimiser are exact; activations are what a layer of a transformer keeps for the way back.
"""

import json
import os
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from jobs.training.events import TrainingFailure
from jobs.training.trainers import FULL, QLORA, scale_of

GIB = 1024**3
LIBRARIES = {"cpu": 600 * 1024**2, "cuda": 800 * 1024**2}  # torch and the others; a CUDA context
FUSED_HEAD = 256 * 1024**2  # on a GPU the head never holds the logits of more than a few positions
# Bytes of a number of 4 bits with its share of the scales (blocks of 64, themselves in 8 bits), and what stays whole.
FOUR_BIT = 0.5 + 1 / 64
OUTSIDE_LAYERS = ("embed", "wte", "lm_head", "output_layer", "score")
TOLERANCE = 1.3  # by which an estimate may exceed the memory before a run is refused


@dataclass(frozen=True)
class Estimate:
    """Bytes by what holds them, and the parameters of the model and those that are trained."""

    parameters: int
    trained: int
    weights: int
    gradients: int
    optimiser: int
    activations: int
    libraries: int

    @property
    def fixed(self) -> int:
        """What does not depend on batch and length."""
        return self.weights + self.gradients + self.optimiser + self.libraries

    @property
    def total(self) -> int:
        return self.fixed + self.activations


def estimate(
    weights: Path,
    method: str,
    batch: int,
    length: int,
    *,
    device: str = "cpu",
    rank: int = 8,
    all_linear: bool = False,
    checkpointing: bool = False,
    references: int = 0,
    shards: int = 1,
) -> Estimate | None:
    """The memory of one device for `batch` rows of `length` tokens at a time; None where the directory does not say
    enough. `references` are frozen models of the same size that stand beside the one that is trained. Of weights,
    gradients and optimiser the device holds one of so many `shards`.

    As the trainers do: float32 on a CPU and in full training; with adapters on a GPU a frozen base of bfloat16, with
    QLoRA one whose linear layers are kept in 4 bits.
    """
    try:
        config = json.loads((weights / "config.json").read_bytes())
        parameters, linear = count_parameters(weights)
    except (OSError, ValueError, KeyError, struct.error):
        return None
    config = config.get("text_config") or config
    hidden = config.get("hidden_size") or config.get("n_embed")
    layers = config.get("num_hidden_layers") or config.get("n_layer") or config.get("num_layers")
    if not (parameters and hidden and layers):
        return None
    inner = config.get("intermediate_size") or config.get("ffn_hidden_size") or 4 * hidden
    has_adapter = scale_of(method) != FULL
    on_gpu = device == "cuda"
    number = 2 if on_gpu else 4  # bytes of an activation: bfloat16 under autocast
    layers_with = 7 if all_linear else 2
    trained = rank * 2 * hidden * layers_with * layers if has_adapter else parameters
    # A layer keeps its input, both norms, query, key, value, attention, two residuals: 8 h; gate, up, their product
    # and the activation: 4 f. Experts: those that see a token.
    seen = config.get("num_experts_per_tok") or config.get("moe_k") or 1
    inner = config.get("moe_intermediate_size", inner) * seen if seen > 1 else inner
    layer = (8 * hidden + 4 * inner) * number
    kept = (hidden * number * layers + layer) if checkpointing else layer * layers
    # Logits of the positions with a label, their softmax and its gradient.
    head = 0 if on_gpu else 3 * 4 * config.get("vocab_size", 0)
    activations = batch * length * (kept + head) + (FUSED_HEAD if on_gpu else 0)
    bytes_of_base = parameters * (2 if on_gpu and has_adapter else 4)
    if scale_of(method) == QLORA:
        bytes_of_base = (parameters - linear) * number + int(linear * FOUR_BIT)
    # While a layer computes, it and the next one are there whole.
    gathered = 2 * number * parameters // layers if shards > 1 else 0
    return Estimate(
        parameters=parameters,
        trained=trained,
        weights=bytes_of_base * (1 + references) // shards + (4 * trained if has_adapter else 0) + gathered,
        gradients=4 * trained // shards,
        optimiser=8 * trained // shards,  # AdamW: two moments
        activations=activations,
        libraries=LIBRARIES["cuda" if on_gpu else "cpu"],
    )


def count_parameters(weights: Path) -> tuple[int, int]:
    """(numbers in all tensors of the directory's safetensors files, those in the matrices of its layers), by their
    heads.
    """
    total = linear = 0
    for path in weights.glob("*.safetensors"):
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(size))
        for name, entry in head.items():
            if name == "__metadata__":
                continue
            count = prod(entry["shape"])
            total += count
            if len(entry["shape"]) == 2 and not any(part in name for part in OUTSIDE_LAYERS):
                linear += count
    return total, linear


def machine_size() -> int:
    """Bytes that this machine, or the control group that this process is in, has in all (Linux)."""
    total = int(_meminfo()["MemTotal"].split()[0]) * 1024
    try:
        return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no such limit ("max"), or no control groups
        return total


def _meminfo() -> dict[str, str]:
    return dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())


def machine_memory() -> int:
    """Bytes that this machine, or the control group that this process is in, can still give (Linux)."""
    available = int(_meminfo()["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    try:
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such limit ("max"), or no control groups
        return available
    return min(available, left)


def require(needed: Estimate, available: int, what: str, batch: int, length: int) -> None:
    """Raises TrainingFailure (too_little_memory) when a run is clearly larger than the memory of `what`."""
    if needed.fixed <= available and needed.total <= TOLERANCE * available:
        return
    if needed.fixed > available:
        advice = (
            "choose LoRA or a smaller base model"
            if needed.trained == needed.parameters
            else "choose a smaller base model"
        )
    else:
        advice = f"lower batchSize ({batch}) or maxSeqLen ({length})"
    gib = {
        name: round(value / GIB, 1)
        for name, value in (
            ("needed", needed.total),
            ("available", available),
            ("weights", needed.weights),
            ("optimiser", needed.gradients + needed.optimiser),
            ("activations", needed.activations),
        )
    }
    raise TrainingFailure(
        "too_little_memory",
        f"The run needs about {gib['needed']} GiB (weights {gib['weights']}, gradients and optimiser "
        f"{gib['optimiser']}, activations {gib['activations']}), and {what} has {gib['available']} GiB free; "
        f"{advice}.",
        needed=gib["needed"],
        available=gib["available"],
        weights=gib["weights"],
        optimiser=gib["optimiser"],
        activations=gib["activations"],
    )


def is_checked() -> bool:
    """TRAINER_MEMORY_CHECK=0 lets a run try what is estimated not to fit."""
    return os.environ.get("TRAINER_MEMORY_CHECK", "1") != "0"
