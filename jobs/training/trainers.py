"""Which trainers exist. Standard library only: the console derives job types and methods from this table.

A method is a way to train (its mode) and what of the model is trained (its scale). Supervised fine-tuning is the
mode that goes without saying: `LoRA` is its adapter, `DPO-LoRA` the same adapter trained on preferences. QLoRA is the
adapter on a base whose layers are kept in 4 bits.
"""

from dataclasses import dataclass

SFT, DPO, KTO, REWARD = "SFT", "DPO", "KTO", "RM"
FULL, LORA, QLORA = "FullFineTuning", "LoRA", "QLoRA"
SCALES = (FULL, LORA, QLORA)
REQUIRED = {QLORA: "bitsandbytes"}  # the package beside requirements-train.txt that a scale needs


@dataclass(frozen=True)
class Trainer:
    """One line of the table.

    `module` is the module of this package with `train(spec, run_dir, events)`; it is also the word that
    `spec.json` carries in `trainer`. `row_type` names the canonical rows that it reads (see `data.py` and
    `preferences.py`). Where `answers` is False, what it trains gives a number and no text.
    """

    module: str
    row_type: str
    methods: tuple[str, ...]
    answers: bool = True


def method_of(mode: str, scale: str) -> str:
    return scale if mode == SFT else f"{mode}-{scale}"


def methods_of(mode: str, scales: tuple[str, ...] = SCALES) -> tuple[str, ...]:
    """The methods of a mode, one for each scale."""
    return tuple(method_of(mode, scale) for scale in scales)


def mode_of(method: str) -> str:
    return method.partition("-")[0] if "-" in method else SFT


def scale_of(method: str) -> str:
    return method.rpartition("-")[2]


# Keyed by model type: the trainers of supervised fine-tuning.
TRAINERS: dict[str, Trainer] = {
    "text2text": Trainer("text", row_type="messages", methods=methods_of(SFT)),
    "text2image": Trainer("image", row_type="image_caption", methods=methods_of(SFT, (FULL, LORA))),
    "imageUnderstanding": Trainer("vision", row_type="image_messages", methods=methods_of(SFT, (FULL, LORA))),
}
# Keyed by model type and mode: the others.
FURTHER_TRAINERS: dict[tuple[str, str], Trainer] = {
    ("text2text", DPO): Trainer("dpo", row_type="preference", methods=methods_of(DPO)),
    ("text2text", KTO): Trainer("kto", row_type="binary_preference", methods=methods_of(KTO)),
    ("text2text", REWARD): Trainer("reward", row_type="ranked", methods=methods_of(REWARD), answers=False),
}


def trainer_for(model_type: str, method: str) -> Trainer | None:
    """The trainer of a model type under a method, or None."""
    mode = mode_of(method)
    trainer = TRAINERS.get(model_type) if mode == SFT else FURTHER_TRAINERS.get((model_type, mode))
    return trainer if trainer and method in trainer.methods else None


def find_trainer(module: str) -> Trainer | None:
    """The trainer that a spec names in `trainer`, or None."""
    known = (*TRAINERS.values(), *FURTHER_TRAINERS.values())
    return next((trainer for trainer in known if trainer.module == module), None)
