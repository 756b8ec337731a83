"""From what the spec says to the values that a run uses, each with its origin."""

from collections.abc import Collection, Mapping
from typing import Any

from jobs.training.events import EventWriter, TrainingFailure
from jobs.training.parameters import PARAMETERS
from jobs.training.rows import Prepared
from jobs.training.spec import Setting

EFFECTIVE_BATCH = 16  # rows per update that "automatic" aims at (Qianfan's default for ERNIE)
UPDATES_PER_EPOCH = 10  # below that, a small data set would hardly teach anything
TOKENS_PER_PASS = 8192  # what one forward pass holds when the batch size is ours to choose


class Resolved:
    """The value and the origin of every hyperparameter of a method.

    What the spec leaves out starts with the table's default; `decide` replaces a value with one that needs
    the data or the model. Both have the origin "trainer". `without` are hyperparameters that mean nothing to
    a trainer; raises TrainingFailure where the spec has one of them.
    """

    def __init__(self, method: str, given: Mapping[str, Setting], without: Collection[str] = ()) -> None:
        if odd := [key for key in given if key in without]:
            raise TrainingFailure(
                "spec_invalid", f"{odd[0]} means nothing to this kind of model.", key=odd[0]
            )
        self._entries: dict[str, dict[str, Any]] = {
            key: {"value": parameter.default, "origin": "trainer"}
            for key, parameter in PARAMETERS.items()
            if method in parameter.methods and key not in without
        }
        self._given = frozenset(given)
        for key, setting in given.items():
            self._entries[key] = {"value": setting.value, "origin": setting.origin}

    def __getitem__(self, key: str) -> Any:
        return self._entries[key]["value"]

    def is_given(self, key: str) -> bool:
        """Whether the spec has the key."""
        return key in self._given

    def decide(self, key: str, value: Any) -> None:
        """Set a value; it keeps its origin when it stays what the spec says."""
        if self._entries[key]["value"] != value:
            self._entries[key] = {"value": value, "origin": "trainer"}

    def as_event(self) -> dict[str, dict[str, Any]]:
        """For the event `start`, without what is left undecided (no loraTargetModules, say)."""
        return {key: entry for key, entry in self._entries.items() if entry["value"] is not None}


def wants_packing(values: Resolved, rows: Prepared) -> bool:
    """Whether rows should share sequences.

    "auto": when the mean row is shorter than half of maxSeqLen, so that at least two fit on average, and the
    packed data still give 10 updates an epoch.
    """
    if values["packing"] != "auto":
        return values["packing"] == "true"
    length, tokens = values["maxSeqLen"], rows.tokens()
    sequences = tokens / length
    updates = sequences / ((values["batchSize"] or 1) * (values["gradientAccumulationSteps"] or 1))
    return tokens / len(rows.rows) < length / 2 and updates >= UPDATES_PER_EPOCH


def batch_rule(values: Resolved, rows: int, longest: int) -> None:
    """Decide batchSize where it is not given, and gradientAccumulationSteps where it is 0 or not given.

    Aim at 16 rows per update, but keep at least 10 updates an epoch where the data are small. A batch size of
    our own choice also holds at most 8192 tokens. A given batch size without accumulation is used as it is:
    one batch, one update.
    """
    per_update = max(1, min(EFFECTIVE_BATCH, rows // UPDATES_PER_EPOCH))
    given_batch = values["batchSize"]
    if given_batch is None:
        steps = values["gradientAccumulationSteps"] or 1
        values.decide("batchSize", max(1, min(TOKENS_PER_PASS // max(longest, 1), per_update // steps)))
    if not values["gradientAccumulationSteps"]:
        automatic = max(1, per_update // values["batchSize"])
        as_given = given_batch is not None and not values.is_given("gradientAccumulationSteps")
        values.decide("gradientAccumulationSteps", 1 if as_given else automatic)


def limit_length(values: Resolved, model: Any, events: EventWriter) -> None:
    """Lower maxSeqLen to what the base model reads at most."""
    limit = getattr(model.config, "max_position_embeddings", None)
    if limit and values["maxSeqLen"] > limit:
        events.warn(
            "sequence_length_reduced",
            f"The base model reads at most {limit} tokens, so maxSeqLen is {limit} and not {values['maxSeqLen']}.",
            limit=limit,
            asked=values["maxSeqLen"],
        )
        values.decide("maxSeqLen", limit)


def schedule(values: Resolved) -> dict[str, Any]:
    """The arguments of transformers that say how the learning rate changes."""
    name = values["schedulerName"]
    further = {
        "cosine": {"num_cycles": values["numCycles"]},
        "polynomial": {"lr_end": values["lrEnd"], "power": values["power"]},
    }
    return {"lr_scheduler_type": name, "lr_scheduler_kwargs": further.get(name, {})}


def share_batch(values: Resolved, processes: int) -> None:
    """Make the batch one that `processes` can share: the training stays the same on however many devices, unless
    the batch cannot be divided and grows to the next size that can.
    """
    values.decide("batchSize", -(-values["batchSize"] // processes) * processes)


def count_steps(values: Resolved, rows: int) -> tuple[int, int]:
    """(all steps, steps per epoch), as transformers counts: a smaller last batch of an epoch is a step."""
    batches = -(-rows // values["batchSize"])
    per_epoch = -(-batches // values["gradientAccumulationSteps"])
    return per_epoch * values["epoch"], per_epoch
