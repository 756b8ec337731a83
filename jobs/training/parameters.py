"""Every hyperparameter that the text trainer understands: kind, hard limits, default and what it does.

Standard library only. The console checks its offers against this table, so no offer can be saved that a run
would reject. The limits here are what the code can do; what a base model *offers* is narrower.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jobs.training.trainers import (
    DPO,
    FULL,
    KTO,
    REWARD,
    SCALES,
    SFT,
    method_of,
    methods_of,
    mode_of,
    scale_of,
)

Kind = Literal["int", "float", "choice", "choices"]

FLAG = ("True", "False")
MODES = (SFT, DPO, KTO, REWARD)
ALL_METHODS = tuple(method_of(mode, scale) for mode in MODES for scale in SCALES)
ADAPTERS = tuple(method for method in ALL_METHODS if scale_of(method) != FULL)
INT_MAX = 2**31 - 1


@dataclass(frozen=True)
class Parameter:
    """One hyperparameter.

    `low` and `high` are inclusive unless `open_low`/`open_high`. `default` holds where neither the offer nor
    the user says anything; None means that the trainer decides when it has seen the data or the model
    (`decided`). `target` is the place where the value ends up: an attribute of transformers' training
    arguments, of peft's LoraConfig, or a step of this package.
    """

    key: str
    kind: Kind
    target: str
    meaning: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    methods: tuple[str, ...] = ALL_METHODS
    decided: str = ""


@dataclass(frozen=True)
class Problem:
    """Why a value cannot be trained with; `code` and `params` are for translation, `message` is English."""

    key: str
    code: str
    params: dict[str, Any]
    message: str


_ENTRIES = (
    Parameter("epoch", "int", "training_args.num_train_epochs", "Passes over the data.", 1, 1, 1000),
    Parameter(
        "learningRate",
        "float",
        "training_args.learning_rate",
        "Peak learning rate of AdamW.",
        3e-5,
        0,
        1,
        open_low=True,
    ),
    Parameter(
        "batchSize",
        "int",
        "training_args.per_device_train_batch_size",
        "Rows in one forward pass (packed rows when packing is on).",
        None,
        1,
        4096,
        decided="16 rows, fewer when 8192 tokens or a tenth of the data hold fewer",
    ),
    Parameter(
        "maxSeqLen",
        "int",
        "data.max_length",
        "Longest row in tokens; longer rows lose their oldest turns first.",
        4096,
        16,
        1048576,
    ),
    Parameter(
        "packing",
        "choice",
        "data.packing",
        "Several short rows share one sequence, without seeing each other.",
        "false",
        choices=("false", "true", "auto"),
        methods=methods_of(SFT),
    ),
    Parameter(
        "loggingSteps", "int", "training_args.logging_steps", "Steps between two metrics.", 1, 1, 100000
    ),
    Parameter(
        "warmupRatio",
        "float",
        "training_args.warmup_steps",
        "Share of all steps in which the learning rate rises from 0.",
        0.1,
        0,
        1,
        open_high=True,
    ),
    Parameter(
        "weightDecay",
        "float",
        "training_args.weight_decay",
        "AdamW's decay, not applied to biases and norms.",
        0.01,
        0,
        1,
    ),
    Parameter("loraRank", "int", "lora.r", "Rank of the adapter matrices.", 8, 1, 1024, methods=ADAPTERS),
    Parameter(
        "loraAlpha",
        "int",
        "lora.lora_alpha",
        "The adapter is scaled by alpha / rank.",
        None,
        1,
        8192,
        methods=ADAPTERS,
        decided="twice the rank",
    ),
    Parameter(
        "loraDropout",
        "float",
        "lora.lora_dropout",
        "Share of the adapter's inputs that is dropped.",
        0.0,
        0,
        1,
        open_high=True,
        methods=ADAPTERS,
    ),
    Parameter(
        "loraAllLinear",
        "choice",
        "lora.target_modules",
        "Adapters on every linear layer (True) or on the query and value projections (False).",
        "False",
        choices=FLAG,
        methods=ADAPTERS,
    ),
    Parameter(
        "loraTargetModules",
        "choices",
        "lora.target_modules",
        "Adapters on exactly these layers; goes before loraAllLinear.",
        None,
        choices=(
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ),
        methods=ADAPTERS,
        decided="as loraAllLinear says",
    ),
    Parameter(
        "gradientAccumulationSteps",
        "int",
        "training_args.gradient_accumulation_steps",
        "Forward passes per update; 0 lets the trainer choose.",
        None,
        0,
        4096,
        decided="1 where the batch size is given, otherwise as 0",
    ),
    Parameter(
        "gradientCheckpointing",
        "choice",
        "training_args.activation_checkpointing",
        "Activations are computed again on the way back instead of kept: slower, in less memory.",
        "auto",
        choices=("auto", "True", "False"),
    ),
    Parameter(
        "pseudoSamplingProb",
        "float",
        "data.join_single_turns",
        "Share of the single-turn rows that is joined into conversations.",
        0.0,
        0,
        1,
        methods=methods_of(SFT),
    ),
    Parameter(
        "seed", "int", "training_args.seed", "Order of the rows, dropout, initial adapters.", 42, 0, INT_MAX
    ),
    Parameter(
        "schedulerName",
        "choice",
        "training_args.lr_scheduler_type",
        "Course of the learning rate after the warm-up.",
        "cosine",
        choices=("linear", "cosine", "polynomial", "constant", "constant_with_warmup"),
    ),
    Parameter(
        "numCycles",
        "float",
        "training_args.lr_scheduler_kwargs.num_cycles",
        "Cosine waves; 0.5 falls once from the peak to 0.",
        0.5,
        0,
        1000,
        open_low=True,
    ),
    Parameter(
        "lrEnd",
        "float",
        "training_args.lr_scheduler_kwargs.lr_end",
        "Learning rate at the end of a polynomial schedule.",
        1e-7,
        0,
        1,
    ),
    Parameter(
        "power",
        "float",
        "training_args.lr_scheduler_kwargs.power",
        "Exponent of a polynomial schedule; 1 is a straight line.",
        1,
        0,
        100,
        open_low=True,
    ),
    Parameter(
        "validationStep",
        "int",
        "training_args.eval_steps",
        "Steps between two evaluations; 0 is no evaluation at all.",
        16,
        0,
        1000000,
    ),
    Parameter(
        "earlyStopping",
        "choice",
        "callbacks.EarlyStopping",
        "End when the metric stops improving.",
        "False",
        choices=FLAG,
    ),
    Parameter(
        "earlyStopMetric",
        "choice",
        "callbacks.EarlyStopping.metric",
        "The metric that early stopping watches.",
        "validationLoss",
        choices=("validationLoss", "trainingLoss"),
    ),
    Parameter(
        "earlyStoppingThreshold",
        "float",
        "callbacks.EarlyStopping.threshold",
        "Smaller improvements on the best value so far do not count.",
        0.01,
        0,
        1000,
    ),
    Parameter(
        "earlyStoppingPatience",
        "int",
        "callbacks.EarlyStopping.patience",
        "Measurements without an improvement that end the run.",
        3,
        1,
        1000000,
    ),
    Parameter(
        "checkpointCount",
        "int",
        "training_args.save_total_limit",
        "Checkpoints that are kept, the newest ones.",
        1,
        1,
        1000,
    ),
    Parameter(
        "saveStep",
        "int",
        "training_args.save_steps",
        "Steps between two checkpoints; the last step always makes one.",
        64,
        1,
        1000000,
    ),
    Parameter(
        "dpoBeta",
        "float",
        "training_args.beta",
        "How strongly DPO holds the model to where it started.",
        0.1,
        0,
        100,
        open_low=True,
        methods=methods_of(DPO),
    ),
    Parameter(
        "lossType",
        "choice",
        "training_args.loss_type",
        "What DPO makes of the distance between the chosen and the rejected reply.",
        "sigmoid",
        choices=("sigmoid", "ipo", "hinge", "robust"),
        methods=methods_of(DPO),
    ),
    Parameter(
        "labelSmoothing",
        "float",
        "training_args.label_smoothing",
        "Share of the preferences that the robust loss takes to be the wrong way round.",
        0.1,
        0,
        0.5,
        open_high=True,
        methods=methods_of(DPO),
    ),
    Parameter(
        "ktoBeta",
        "float",
        "training_args.beta",
        "How strongly KTO holds the model to where it started.",
        0.1,
        0,
        100,
        open_low=True,
        methods=methods_of(KTO),
    ),
    Parameter(
        "desirableWeight",
        "float",
        "training_args.desirable_weight",
        "By what the losses of good replies are multiplied.",
        1.0,
        0,
        1000,
        methods=methods_of(KTO),
    ),
    Parameter(
        "undesirableWeight",
        "float",
        "training_args.undesirable_weight",
        "By what the losses of bad replies are multiplied.",
        1.0,
        0,
        1000,
        methods=methods_of(KTO),
    ),
    Parameter(
        "centerRewards",
        "float",
        "training_args.center_rewards_coefficient",
        "How strongly the rewards of a pair are drawn to a sum of 0; 0 does not.",
        0.0,
        0,
        1000,
        methods=methods_of(REWARD),
    ),
)
PARAMETERS: dict[str, Parameter] = {entry.key: entry for entry in _ENTRIES}


def check(method: str, values: Mapping[str, Any], *, has_eval: bool | None = None) -> list[Problem]:
    """Everything that keeps `values` from being trained with; an empty list means that a run accepts them.

    `has_eval` says whether the run has an evaluation set; None leaves that rule out (an offer has no data).
    """
    problems: list[Problem] = []
    for key, value in values.items():
        entry = PARAMETERS.get(key)
        if entry is None:
            problems.append(Problem(key, "unknown", {}, f"There is no hyperparameter {key}."))
        elif method not in entry.methods:
            problems.append(
                Problem(key, "wrong_method", {"method": method}, f"{key} has no meaning for {method}.")
            )
        elif (problem := check_value(entry, value)) is not None:
            problems.append(problem)
    return problems or _check_together(method, values, has_eval)


def check_value(entry: Parameter, value: Any) -> Problem | None:
    """One value against the entry's kind, limits and choices."""
    key = entry.key
    if entry.kind == "choice" and value not in entry.choices:
        return _not_a_choice(key, value, entry.choices)
    if entry.kind == "choices":
        if not isinstance(value, list) or not value:
            return Problem(key, "empty", {}, f"{key} must be a list with at least one entry.")
        unknown = next((item for item in value if item not in entry.choices), None)
        return _not_a_choice(key, unknown, entry.choices) if unknown is not None else None
    if entry.kind in ("int", "float"):
        accepted = int if entry.kind == "int" else (int, float)
        if isinstance(value, bool) or not isinstance(value, accepted):
            word = "a whole number" if entry.kind == "int" else "a number"
            code = "not_whole" if entry.kind == "int" else "not_a_number"
            return Problem(key, code, {"value": value}, f"{key} must be {word}, not {value!r}.")
        low, high = entry.low, entry.high
        assert low is not None and high is not None
        above = value > low if entry.open_low else value >= low
        below = value < high if entry.open_high else value <= high
        if not (above and below):  # NaN compares false and lands here too
            span = f"{'above' if entry.open_low else 'at least'} {low:g} and "
            span += f"{'below' if entry.open_high else 'at most'} {high:g}"
            return Problem(
                key,
                "out_of_range",
                {
                    "value": value,
                    "low": low,
                    "high": high,
                    "open_low": entry.open_low,
                    "open_high": entry.open_high,
                },
                f"{key} must be {span}, not {value!r}.",
            )
    return None


def _not_a_choice(key: str, value: Any, choices: tuple[str, ...]) -> Problem:
    allowed = ", ".join(choices)
    return Problem(
        key,
        "not_a_choice",
        {"value": value, "choices": allowed},
        f"{key} must be one of {allowed}, not {value!r}.",
    )


def _check_together(method: str, values: Mapping[str, Any], has_eval: bool | None) -> list[Problem]:
    """Rules between values. A value that is not given counts with its default."""
    full = {key: entry.default for key, entry in PARAMETERS.items() if method in entry.methods} | dict(values)
    problems = []
    if mode_of(method) == KTO and full["batchSize"] == 1:
        message = "KTO compares the rows of a batch, so batchSize must be at least 2."
        problems.append(Problem("batchSize", "needs_two_rows", {}, message))
    if full["schedulerName"] == "polynomial" and full["lrEnd"] >= full["learningRate"]:
        params = {"lr_end": full["lrEnd"], "learning_rate": full["learningRate"]}
        message = f"lrEnd ({full['lrEnd']:g}) must be smaller than learningRate ({full['learningRate']:g})."
        problems.append(Problem("lrEnd", "not_below_learning_rate", params, message))
    if full["earlyStopping"] == "True" and full["earlyStopMetric"] == "validationLoss":
        if full["validationStep"] == 0:
            message = "Early stopping on validationLoss needs a validationStep above 0."
            problems.append(Problem("earlyStopping", "needs_validation_step", {}, message))
        if has_eval is False:
            message = "Early stopping on validationLoss needs an evaluation set."
            problems.append(Problem("earlyStopping", "needs_evaluation_set", {}, message))
    return problems
