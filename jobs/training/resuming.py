"""Training from a checkpoint on, so that a run that was interrupted ends as one that was not."""

from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.training.callbacks import EarlyStopping
from jobs.training.checkpoints import step_of, training_state


class EndedEarlyError(Exception):
    """What was owed at the step of the checkpoint ends the run there."""


class EvaluateOwed(TrainerCallback):
    """Evaluates first where a run was asked to stop after the very step at which it was to be evaluated: the stop does
    not wait for that (callbacks.StopOnRequest).
    """

    def __init__(self, trainer: Any, early: EarlyStopping | None) -> None:
        self.trainer, self.early = trainer, early

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        step = state.global_step
        if not step or args.eval_strategy == "no" or step % args.eval_steps:
            return
        if any(entry["step"] == step and "eval_loss" in entry for entry in state.log_history):
            return
        print(f"evaluating at step {step}, which a stop had left out", flush=True)
        with torch.random.fork_rng():
            self.trainer.evaluate()
        if self.early and self.early.is_due(state.log_history):
            raise EndedEarlyError


def train_from(trainer: Any, resume: Path | None, early: EarlyStopping | None, total_steps: int) -> bool:
    """Train to the end, from the checkpoint if there is one; whether the run ended early (`early` says when).
    `trainer.state` then says at which step, also where it was stopped on the way.
    """
    history = ((training_state(resume) or {}) if resume else {}).get("log_history", [])
    if resume and early and early.is_due(history):  # stopped early before, then killed while saving
        trainer._load_from_checkpoint(str(resume))
        trainer.state = TrainerState(global_step=step_of(resume), max_steps=total_steps)
        return True
    trainer.add_callback(EvaluateOwed(trainer, early))
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except EndedEarlyError:
        return True
    return bool(early and early.is_due(trainer.state.log_history))
