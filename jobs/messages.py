"""What the console says about a run, in the reader's language.

Trainer and lifecycle store a stable code with params and one plain English sentence. The code is translated
here; a code that is not listed, or params that do not fit its text, show the stored sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from jobs.models import Run, RunState, TimelineEntry

Texts = Mapping[str, str | Promise]

# Failures end a run, a full disk lets it rest; each text says what a person can do.
FAILURES: Texts = {
    "weights_missing": _(
        "The base model in %(path)s cannot be used: %(reason)s. Ask an operator to check where its weights lie."
    ),
    "weights_broken": _(
        "The weights in %(path)s cannot be loaded: %(reason)s. Ask an operator to copy them again."
    ),
    "conversion_failed": _(
        "The weights in %(path)s cannot be converted to the layout that is trained: %(reason)s. "
        "Ask an operator to look at them."
    ),
    "weights_unbound": _(
        "No weights are bound to %(model)s. Ask an operator to bind it, then start a new run."
    ),
    "base_run_missing": _(
        "The weights of the base run %(run)s are no longer on the machine that trains (%(path)s). "
        "Choose another base run or another step of it."
    ),
    "hub_unreachable": _(
        "The weights %(location)s could not be fetched from the hub: %(reason)s. "
        "Start a new run when it can be reached, or ask an operator to bind a local copy."
    ),
    "s3_unreachable": _(
        "The weights %(location)s could not be fetched from the object storage: %(reason)s. "
        "Ask an operator to check address and credentials."
    ),
    "data_missing": _(
        "The training data of this run are no longer on the disk (%(path)s). Start a new run on this dataset."
    ),
    "data_changed": _(
        "The data of %(version)s have changed in the bucket since they were counted. "
        "Count them again and start a new run on the new version."
    ),
    "data_unreachable": _(
        "The data could not be read from the object storage: %(reason)s Start a new run when it can be reached."
    ),
    "data_row_invalid": _(
        "%(file)s, line %(line)s is not a usable conversation: %(reason)s. "
        "Correct it in a new version of the dataset."
    ),
    "no_rows_left": _(
        "The training data hold no row with a reply to learn from. "
        "Check the dataset, or allow longer sequences."
    ),
    "image_missing": _(
        "%(file)s, line %(line)s names the picture %(image)s, which cannot be had: %(reason)s. "
        "Correct it in a new version of the dataset."
    ),
    "image_broken": _(
        "%(file)s, line %(line)s: the picture %(image)s cannot be read: %(reason)s. "
        "Replace it in a new version of the dataset."
    ),
    "no_gpu": _(
        "The run asks for a GPU, and the machine has none that can be used. "
        "Ask an operator to check the driver, or to let runs use the CPU."
    ),
    "no_adapter_layers": _(
        "The base model has no layers of the chosen names for LoRA. Choose other target modules or another method."
    ),
    "library_missing": _(
        "The training machine lacks the package %(package)s, which QLoRA needs. Ask an operator to install "
        "requirements-qlora.txt there, or choose LoRA."
    ),
    "not_in_four_bits": _(
        "%(model)s is a mixture of experts, which QLoRA cannot keep in 4 bits. Choose LoRA."
    ),
    "loss_not_finite": _(
        "The loss became infinite or undefined at step %(step)s. Lower the learning rate or check the data."
    ),
    "other_rows": _(
        "The checkpoint of step %(step)s was made in steps of %(before)s rows, and a step would now have %(now)s. "
        "Train on a number of devices that divides the batch as before."
    ),
    "out_of_memory": _(
        "The memory was not enough. Shorten the sequence length, lower the batch size, or choose LoRA."
    ),
    "too_little_memory": _(
        "The run needs about %(needed)s GiB of memory (weights %(weights)s, gradients and optimiser %(optimiser)s, "
        "activations %(activations)s), and %(available)s GiB are free. Choose LoRA or a smaller base model, or "
        "lower the batch size or the sequence length."
    ),
    "not_mergeable": _("Adapters of this kind of model are not merged into its weights."),
    "disk_full": _(
        "The disk of the training machine is full. Ask an operator to make room, then resume the run: "
        "it goes on from its last checkpoint."
    ),
    "spec_invalid": _(
        "The configuration of the run cannot be read. Start a new run; if it stays, tell an operator."
    ),
    "trainer_died": _(
        "The trainer was killed %(crashes)s times, last at step %(step)s; most often the machine runs out of memory. "
        "Shorten the sequence length or lower the batch size, or ask an operator."
    ),
    "unexpected": _(
        "The trainer met an error that it does not know. The log has the details for an operator."
    ),
}

# What is wrong with weights, by the `why` of a failure; they stand inside its sentence.
REASONS: Texts = {
    "no_directory": _("the directory does not exist"),
    "no_weights": _("it holds no weights"),
    "file_missing": _("%(name)s is missing"),
    "file_damaged": _("%(name)s is damaged"),
    "not_json": _("%(name)s is not valid JSON"),
    "no_tokenizer": _("its tokenizer does not load"),
    "config_contradictory": _("%(name)s contradicts itself"),
    "tensor_missing": _("the tensor %(name)s is missing"),
    "tensor_shape": _("the tensor %(name)s has another shape than config.json says"),
    "tensor_unknown": _("the tensor %(name)s belongs to a layer that config.json does not have"),
    "tensor_not_finite": _("the tensor %(name)s holds NaN or infinity"),
}

WARNINGS: Texts = {
    "sequence_length_reduced": _("The base model reads at most %(limit)s tokens; %(asked)s were asked for."),
    "packing_not_supported": _("Rows are not packed: this base model would let packed rows see each other."),
    "rows_split": _(
        "The chat template rewrites earlier turns, so %(rows)s conversations became one row per reply."
    ),
    "system_merged": _(
        "The chat template has no system role, so %(rows)s system texts moved to the first turn."
    ),
    "metric_not_finite": _("%(metric)s was infinite or undefined at step %(step)s and was left out."),
    "lora_dropout_off": _("Adapters on the experts of a mixture cannot have dropout; it is off."),
    "rows_truncated": _("%(rows)s rows were longer than the sequence length and were cut."),
    "rows_too_long": _(
        "%(rows)s rows have more than %(limit)s tokens together with their picture and were left out."
    ),
    "prompts_cut": _("%(rows)s prompts are longer than the text encoder reads; it saw only their beginning."),
    "samples_left_out": _("The memory was not enough to draw samples at step %(step)s."),
    "batch_halved": _(
        "The memory was not enough; the run goes on with batches of %(batch)s and %(steps)s accumulation steps, "
        "which trains the same."
    ),
    "checkpointing_on": _(
        "The memory was not enough; the run goes on with gradient checkpointing, which is slower and trains the same."
    ),
    "not_merged": _("Published without merged weights: %(reason)s"),
    "rows_dropped": _("%(rows)s rows have no reply to learn from and were left out."),
}

PHASES: Texts = {
    "starting": _("Starting the trainer"),
    "loading_libraries": _("Loading the training libraries"),
    "loading_weights": _("Loading the weights"),
    "preparing_data": _("Preparing the data"),
    "training": _("Training"),
    "saving": _("Saving the result"),
}

# Why a finished run has no model version, or what is to be done about it.
PUBLICATION_NOTES: Texts = {
    "name_taken": _(
        "A model named “%(name)s” has come to exist meanwhile, and this run was to make a new one of that name."
    ),
    "model_deleted": _("The model that was to get the version was deleted before the run ended."),
    "run_failed": _("The run failed, so there was nothing to publish."),
    "run_stopped": _("The run was stopped before its end."),
    "storage_full": _(
        "There is no room left where models are stored. Once an operator has made some, publishing goes on by itself."
    ),
    "publishing_delayed": _(
        "The result cannot be stored at the moment (%(error)s). It is tried again by itself; if it stays so, "
        "ask an operator."
    ),
    "output_missing": _("The run's result is no longer on the disk of the machine that trained it."),
}

TIMELINE: Texts = {
    "submitted": _("Submitted"),
    "started": _("Training started on %(host)s (%(device)s)"),
    "resumed": _("Training goes on from step %(step)s"),
    "taken_over": _("Taken over by another worker on %(host)s"),
    "began_anew": _("Began anew on %(host)s, where the files of the earlier training are not"),
    "released": _("Saved and put back into the queue at step %(step)s, because its worker shut down"),
    "preempted": _(
        "Saved and put back into the queue at step %(step)s, to make room for a run that is not idle"
    ),
    "restarted": _("The trainer was killed at step %(step)s and starts again from the last checkpoint"),
    "checkpoint": _("Checkpoint saved at step %(step)s"),
    "pause_requested": _("Asked to pause"),
    "rests": _("Put back into the queue, where it rests until it is resumed"),
    "paused": _("Saved and paused at step %(step)s"),
    "paused_waiting": _("Paused before it began to train"),
    "unpaused": _("Resumed"),
    "priority_high": _("Given high priority"),
    "priority_normal": _("Given normal priority"),
    "priority_low": _("Given low priority"),
    "stop_requested": _("Asked to stop"),
    "stopped": _("Stopped"),
    "done": _("Training is done"),
    "failed": _("Failed"),
    "publish_requested": _("Publishing as %(model)s was asked for"),
    "published": _("Published as %(model)s V%(version)s"),
    "checkpoints_deleted": _("Old checkpoints deleted: %(count)s, after %(days)s days"),
}
# Colours of the timeline's dots.
_TONES = {
    "done": "is-ok",
    "published": "is-ok",
    "failed": "is-error",
    "warning": "is-warn",
    "released": "is-warn",
    "preempted": "is-warn",
    "rests": "is-error",
    "paused": "is-warn",
    "paused_waiting": "is-warn",
    "restarted": "is-warn",
    "began_anew": "is-warn",
    "stop_requested": "is-warn",
    "stopped": "is-warn",
    "publish_skipped": "is-warn",
    "publish_delayed": "is-warn",
    "started": "is-active",
    "resumed": "is-active",
}


def failure_text(failure: Mapping[str, Any] | None) -> str:
    """Why a run failed, as one or two sentences; empty for a run that did not."""
    return _said(FAILURES, failure) if failure else ""


def failure_detail(failure: Mapping[str, Any] | None) -> str:
    """The trainer's own English sentence where it says more than `failure_text`."""
    message = str((failure or {}).get("message", ""))
    return "" if message == failure_text(failure) else message


def warning_text(warning: Mapping[str, Any]) -> str:
    return _said(WARNINGS, warning)


def publication_text(note: Mapping[str, Any] | None) -> str:
    """Why a run was not published; empty without a note."""
    return _said(PUBLICATION_NOTES, note) if note else ""


def phase_text(run: Run) -> str:
    """What the run does at the moment, or how it ended."""
    if run.is_stopping:
        return gettext("Saving a checkpoint and stopping")
    if run.is_pausing:
        return gettext("Saving a checkpoint and pausing")
    if run.is_paused:
        return gettext("Paused")
    if run.state == RunState.RUNNING:
        return str(PHASES.get(run.phase, PHASES["starting"]))
    return run.get_state_display()


def timeline_text(entry: TimelineEntry) -> str:
    """One line of the timeline; the person and the time stand beside it."""
    if entry.kind == "warning":
        return warning_text(entry.data)
    if entry.kind == "publish_skipped":
        return gettext("Not published: %(reason)s") % {"reason": publication_text(entry.data)}
    if entry.kind == "publish_delayed":
        return publication_text(entry.data)
    text = TIMELINE.get(entry.kind)
    return _filled(text, entry.data) or entry.kind


def timeline_tone(entry: TimelineEntry) -> str:
    """CSS class of the entry's dot."""
    return _TONES.get(entry.kind, "")


def _said(texts: Texts, said: Mapping[str, Any]) -> str:
    """The text of `said["code"]` with its params, else the message stored with it, else the code."""
    code = str(said.get("code", ""))
    params = said.get("params") or {}
    if reason := _filled(REASONS.get(str(params.get("why"))), params):
        params = {**params, "reason": reason}
    return _filled(texts.get(code), params) or str(said.get("message") or code)


def _filled(text: str | Promise | None, params: Mapping[str, Any]) -> str:
    """`text` with its named placeholders filled; empty where a parameter is missing."""
    if text is None:
        return ""
    try:
        return str(text) % params
    except (KeyError, TypeError, ValueError):
        return ""
