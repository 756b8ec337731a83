"""Which trainers exist. Standard library only: the console derives job types and methods from this table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Trainer:
    """One line of the table.

    `module` is the module of this package with `train(spec, run_dir, events)`; it is also the word that
    `spec.json` carries in `trainer`. `row_type` names the canonical rows that it reads (see `data.py`).
    """

    module: str
    row_type: str
    methods: tuple[str, ...]


# Keyed by model type.
TRAINERS: dict[str, Trainer] = {
    "text2text": Trainer("text", row_type="messages", methods=("FullFineTuning", "LoRA")),
    "text2image": Trainer("image", row_type="image_caption", methods=("FullFineTuning", "LoRA")),
    "imageUnderstanding": Trainer("vision", row_type="image_messages", methods=("FullFineTuning", "LoRA")),
}


def find_trainer(module: str) -> Trainer | None:
    """The trainer that a spec names in `trainer`, or None."""
    return next((trainer for trainer in TRAINERS.values() if trainer.module == module), None)
