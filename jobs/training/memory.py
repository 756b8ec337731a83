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
from jobs.training.trainers import LORA, scale_of

GIB = 1024**3
LIBRARIES = {"cpu": 600 * 1024**2, "cuda": 800 * 1024**2}  # torch and the others; a CUDA context
FUSED_HEAD = 256 * 1024**2  # on a GPU the head never holds the logits of more than a few positions
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
    checkpointing: bool | None = None,
    references: int = 0,
) -> Estimate | None:
    """The memory for `batch` rows of `length` tokens at a time; None where the directory does not say enough.
    `references` are frozen models of the same size that stand beside the one that is trained.

    As the trainers do: float32 on a CPU and in full training; with LoRA on a GPU a frozen base of bfloat16;
    activation checkpointing on a GPU (`checkpointing` says otherwise).
    """
    try:
        config = json.loads((weights / "config.json").read_bytes())
        parameters = count_parameters(weights)
    except (OSError, ValueError, KeyError, struct.error):
        return None
    config = config.get("text_config") or config
    hidden = config.get("hidden_size") or config.get("n_embed")
    layers = config.get("num_hidden_layers") or config.get("n_layer") or config.get("num_layers")
    if not (parameters and hidden and layers):
        return None
    inner = config.get("intermediate_size") or config.get("ffn_hidden_size") or 4 * hidden
    is_lora = scale_of(method) == LORA
    on_gpu = device == "cuda"
    number = 2 if on_gpu else 4  # bytes of an activation: bfloat16 under autocast
    layers_with = 7 if all_linear else 2
    trained = rank * 2 * hidden * layers_with * layers if is_lora else parameters
    if checkpointing is None:
        checkpointing = on_gpu
    # A layer keeps its input, both norms, query, key, value, attention, two residuals: 8 h; gate, up, their product
    # and the activation: 4 f. Experts: those that see a token.
    seen = config.get("num_experts_per_tok") or config.get("moe_k") or 1
    inner = config.get("moe_intermediate_size", inner) * seen if seen > 1 else inner
    layer = (8 * hidden + 4 * inner) * number
    kept = (hidden * number * layers + layer) if checkpointing else layer * layers
    # Logits of the positions with a label, their softmax and its gradient.
    head = 0 if on_gpu else 3 * 4 * config.get("vocab_size", 0)
    activations = batch * length * (kept + head) + (FUSED_HEAD if on_gpu else 0)
    base = 2 if on_gpu and is_lora else 4
    return Estimate(
        parameters=parameters,
        trained=trained,
        weights=parameters * base * (1 + references) + (4 * trained if is_lora else 0),
        gradients=4 * trained,
        optimiser=8 * trained,  # AdamW: two moments
        activations=activations,
        libraries=LIBRARIES["cuda" if on_gpu else "cpu"],
    )


def count_parameters(weights: Path) -> int:
    """Numbers in all tensors of the directory's safetensors files, by their heads."""
    total = 0
    for path in weights.glob("*.safetensors"):
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(size))
        total += sum(prod(entry["shape"]) for name, entry in head.items() if name != "__metadata__")
    return total


def machine_memory() -> int:
    """Bytes that this machine, or the control group that this process is in, can still give (Linux)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) * 1024
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
