"""Run in a process of its own: the text trainer's loss on a CPU against TRL's own, which it stands in for.

Prints, for each architecture and way of batching, the largest relative difference of loss and gradients.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from datasets import Dataset
from jobs.training.sft import TextTrainer


def compare(base: Path, packed: bool) -> float:
    rng = random.Random(0)
    ids = [[rng.randrange(6, 200) for _ in range(length)] for length in (9, 14, 5)]
    labels = [[-100] * 4 + row[4:] for row in ids]
    rows = Dataset.from_dict({"input_ids": ids, "labels": labels})
    arguments = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        report_to=[],
        packing=packed,
        activation_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    results = []
    for kind in (SFTTrainer, TextTrainer):
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        trainer = kind(
            model, arguments, train_dataset=rows, processing_class=AutoTokenizer.from_pretrained(base)
        )
        trainer.current_gradient_accumulation_steps = 2
        model.train()
        batch = trainer.data_collator([rows[index] for index in range(3)])
        loss = trainer.compute_loss(model, batch, num_items_in_batch=torch.tensor(40))
        loss.backward()
        gradients = [
            parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None
        ]
        results.append(torch.cat([loss.detach()[None], *gradients]))
    theirs, ours = results
    return ((theirs - ours).abs().max() / theirs.abs().max()).item()


if __name__ == "__main__":
    models = Path(sys.argv[1])
    print(
        json.dumps(
            {
                f"{name} packed={packed}": compare(models / name, packed)
                for name in ("llama", "glm", "bloom", "ernie4_5_moe", "mixtral")
                for packed in (False, True)
                if (name, packed) != ("bloom", True)
            }
        )
    )
