"""What happens between steps: events, log lines, checkpoints, early stopping, a requested stop."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from jobs.training.checkpoints import ORIGIN, origin
from jobs.training.events import EventWriter, TrainingFailure
from jobs.training.reports import report_checkpoints
from jobs.training.stopping import Stop

PROGRESS_INTERVAL = 0.25  # seconds between two progress events

# transformers' and TRL's names -> ours; what is not listed is left out (runtimes, flops, entropy).
METRICS = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "mean_token_accuracy": "token_accuracy",
    "aux_loss": "router_loss",
    "eval_loss": "eval_loss",
    "eval_mean_token_accuracy": "eval_token_accuracy",
}
# Of the losses of preferences; each also as eval_….
METRICS |= {
    f"{prefix}{name}": f"{prefix}{own}"
    for prefix in ("", "eval_")
    for name, own in {
        "rewards/chosen": "reward_chosen",
        "rewards/rejected": "reward_rejected",
        "rewards/margins": "reward_margin",
        "rewards/accuracies": "reward_accuracy",
        "kl": "kl",
        "accuracy": "reward_accuracy",
        "margin": "reward_margin",
        "mean_reward": "reward_mean",
    }.items()
}


class Report(TrainerCallback):
    """Writes progress, metrics and checkpoints as events, and one tidy line per metric to stdout."""

    def __init__(
        self,
        events: EventWriter,
        run_dir: Path,
        resumed_from: int,
        unit: str = "tokens",
        *,
        has_perplexity: bool | None = None,
    ) -> None:
        self.events, self.run_dir = events, run_dir
        self.unit = unit  # what the speed counts: "tokens" or "samples"
        # Whether the loss is that of the next token.
        self.has_perplexity = unit == "tokens" if has_perplexity is None else has_perplexity
        self.first_step = resumed_from
        self.last_values: dict[str, float] = {}
        self._warned: set[str] = set()
        self._started = self._progress_at = time.monotonic()
        self._logged_at, self._logged_count = self._started, 0.0
        # Seconds of training that are no training steps: evaluating, saving, samples.
        self.seconds: dict[str, float] = defaultdict(float)
        self._mark = self._started
        self._ended: float | None = None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Counts what happens inside under `name` and not as training."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] += time.monotonic() - began
            self.restart_clock()

    def share(self, name: str) -> float:
        """How much of the time since training began went there, 0 to 1."""
        return self.seconds[name] / max(time.monotonic() - self._started, 1e-6)

    def as_timing(self) -> dict[str, float]:
        """For the event `done`: seconds of this attempt by what they were spent on."""
        total = (self._ended or time.monotonic()) - self._started
        steps = total - sum(self.seconds.values())
        timing = {"steps": steps, **self.seconds}
        shares = "  ".join(f"{name} {value:.2f} s" for name, value in timing.items())
        print(f"time: {shares}", flush=True)
        return {name: round(value, 3) for name, value in timing.items()}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._started = self._logged_at = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # A metric belongs to every step that is evaluated, saved or the last one. It also closes the window
        # that the logged loss is averaged over, so a run resumed from this checkpoint logs the same values.
        if control.should_evaluate or control.should_save or control.should_training_stop:
            control.should_log = True
        self._mark = time.monotonic()
        if time.monotonic() - self._progress_at >= PROGRESS_INTERVAL:
            self._report_progress(state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._report_progress(state)  # the last step always, however training ended
        self._ended = time.monotonic()

    def _report_progress(self, state: TrainerState) -> None:
        self._progress_at = time.monotonic()
        seconds = (self._progress_at - self._started) / max(1, state.global_step - self.first_step)
        self.events.write(
            "progress",
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=round(state.epoch or 0, 4),
            eta_seconds=round(seconds * (state.max_steps - state.global_step), 1),
        )

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict, **_: Any
    ) -> None:
        if "eval_loss" in logs:
            self._count("evaluating")
        self._mark = time.monotonic()
        values = {METRICS[key]: float(value) for key, value in logs.items() if key in METRICS}
        if not values:
            return  # the summary that transformers logs at the end
        step = state.global_step
        if "loss" in values:
            if not math.isfinite(values["loss"]):
                raise TrainingFailure(
                    "loss_not_finite",
                    f"The loss became {values['loss']} at step {step}; lower the learning rate or check the data.",
                    step=step,
                )
            now, count = time.monotonic(), float(logs.get(f"num_{self.unit}", 0))
            values[f"{self.unit}_per_second"] = round(
                (count - self._logged_count) / max(now - self._logged_at, 1e-6), 1
            )
            self._logged_at, self._logged_count = now, count
        if "eval_loss" in values and self.has_perplexity:
            values["eval_perplexity"] = math.exp(min(values["eval_loss"], 700))  # e^710 is beyond floats
        for name in [name for name, value in values.items() if not math.isfinite(value)]:
            value = values.pop(name)
            if name not in self._warned:  # once is enough to look at it
                self._warned.add(name)
                message = f"{name} is {value} at step {step}; such values are left out."
                self.events.warn("metric_not_finite", message, metric=name, step=step)
        self.last_values |= values
        self.events.write("metrics", step=step, epoch=round(state.epoch or 0, 4), values=values)
        width = len(str(state.max_steps))
        line = "  ".join(f"{name} {_short(value)}" for name, value in values.items())
        print(f"step {step:>{width}}/{state.max_steps}  epoch {state.epoch or 0:.2f}  {line}", flush=True)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.restart_clock()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if distributed.is_initialized():
            distributed.barrier()  # every process has a file of its own in the checkpoint
        if state.is_world_process_zero:
            report_checkpoints(self.events, self.run_dir, self.last_values)
        self._count("saving")
        self.restart_clock()

    def _count(self, name: str) -> None:
        """What passed since the last step or log line went to `name`."""
        self.seconds[name] += time.monotonic() - self._mark

    def restart_clock(self) -> None:
        """What happened since the last step (evaluating, saving, drawing) is no part of the training speed."""
        self._logged_at = time.monotonic()


def _short(value: float) -> str:
    """Four digits, and no exponent for large numbers."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


class EarlyStopping(TrainerCallback):
    """Ends training when a metric has not improved by more than `threshold` for `patience` measurements.

    The count is taken from the log history, which every checkpoint carries: a resumed run goes on counting.
    """

    def __init__(self, metric: str, threshold: float, patience: int) -> None:
        self.key = {"validationLoss": "eval_loss", "trainingLoss": "loss"}[metric]
        self.threshold, self.patience = threshold, patience

    def is_due(self, log_history: list[dict[str, Any]]) -> bool:
        values = [entry[self.key] for entry in log_history if self.key in entry]
        return without_improvement(values, self.threshold) >= self.patience

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict, **_: Any
    ) -> None:
        if self.key in logs and self.is_due(state.log_history) and not control.should_training_stop:
            print(f"early stopping: no improvement in {self.patience} measurements", flush=True)
            control.should_training_stop = control.should_save = True


def without_improvement(values: list[float], threshold: float) -> int:
    """How many of the last values did not lie more than `threshold` below the best one before them."""
    best, count = math.inf, 0
    for value in values:
        if value < best - threshold:
            best, count = value, 0
        else:
            count += 1
    return count


class Origin(TrainerCallback, ExportableState):
    """Leaves word in every checkpoint of how many processes wrote it and of the rows of a step, and lets a run go on
    from one only in steps of as many rows: its step says where the data and the schedule stand.
    """

    processes = rows = 0  # known when training begins

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"processes": self.processes, "rows": self.rows}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Raises TrainingFailure (other_rows)."""
        self.processes = args.world_size
        self.rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * self.processes
        before = origin({"stateful_callbacks": state.stateful_callbacks}).get("rows") or self.rows
        state.stateful_callbacks[ORIGIN] = self.state()  # those of an earlier release have none
        if before != self.rows:
            raise TrainingFailure(
                "other_rows",
                f"The checkpoint of step {state.global_step} was made in steps of {before} rows, and a step would now "
                f"have {self.rows}; train on a number of devices that divides the batch as before.",
                step=state.global_step,
                before=before,
                now=self.rows,
            )


class StopOnRequest(TrainerCallback):
    """Turns a requested stop into a checkpoint at the end of the step and the end of training."""

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if distributed.is_initialized():
            # The signal meets one process a step before another; they stop after the same one.
            asked = torch.tensor(int(self.stop.requested), device=args.device)
            distributed.all_reduce(asked, distributed.ReduceOp.MAX)
            self.stop.requested = bool(asked)
        if self.stop.requested and not control.should_training_stop:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False  # it can take long, and the resumed run comes by again
