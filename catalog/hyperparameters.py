"""Every hyperparameter as people meet it: label, help, kind and the condition under which it shows.

An entry is the form field, its help and the rule when it shows; what the value means to the trainer, and
which values it can take at all, stands under the same key in jobs.training.parameters. Which base model
has it under which method, with which default and range, is an `OfferedHyperparameter` (catalog/data,
admin). Adding one: an entry in each of the two tables, and its key in the offers that have it. Keys are
those of Qianfan's API and SDK (packing alone is spelt with a capital there).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from catalog import problems
from catalog.values import InvalidValue, Kind, Raw, Value, check_bounds, parse
from jobs.training.parameters import PARAMETERS, Parameter, check


@dataclass(frozen=True, slots=True)
class Choice:
    """A text that may be chosen, and how it is shown; without labels it shows as it is."""

    value: str
    label_zh: str
    label_en: str


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """One hyperparameter.

    `when` maps the key of another hyperparameter to the values under which this one shows and counts.
    `choices` are all texts that an offer may choose from. `advanced` ones are folded away until asked for.
    """

    key: str
    kind: Kind
    group: str
    label_zh: str
    label_en: str
    help_zh: str
    help_en: str
    source: str
    unit_zh: str = ""
    unit_en: str = ""
    choices: tuple[Choice, ...] = ()
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    advanced: bool = False

    @property
    def choice_values(self) -> list[str]:
        return [choice.value for choice in self.choices]

    @property
    def limits(self) -> Parameter:
        """What the trainer accepts at all, and (`target`) what it makes of the value."""
        return PARAMETERS[self.key]


@dataclass(frozen=True, slots=True)
class Group:
    """A heading that hyperparameters stand under."""

    key: str
    label_zh: str
    label_en: str


GROUPS = {
    group.key: group
    for group in (
        Group("basic", "基础", "Basics"),
        Group("preferences", "偏好学习", "Learning from preferences"),
        Group("lora", "LoRA", "LoRA"),
        Group("optimisation", "优化", "Optimisation"),
        Group("schedule", "学习率计划", "Learning rate schedule"),
        Group("evaluation", "验证与早停", "Validation and early stopping"),
        Group("checkpoints", "Checkpoint 与日志", "Checkpoints and logs"),
    )
}

_TRUE_FALSE = (Choice("False", "关闭", "Off"), Choice("True", "开启", "On"))
_SCHEDULERS = (
    Choice("linear", "linear(线性下降)", "linear (falls in a straight line)"),
    Choice("cosine", "cosine(余弦下降)", "cosine (falls along a cosine)"),
    Choice("polynomial", "polynomial(多项式下降)", "polynomial (falls along a power curve)"),
    Choice("constant", "constant(保持不变)", "constant (stays the same)"),
    Choice(
        "constant_with_warmup",
        "constant_with_warmup(预热后保持不变)",
        "constant_with_warmup (rises, then stays)",
    ),
)
_PACKING = (
    Choice("auto", "auto(自动)", "auto (where the base model allows it)"),
    Choice("true", "true(开启)", "true (on)"),
    Choice("false", "false(关闭)", "false (off)"),
)
_CHECKPOINTING = (
    Choice("auto", "auto(显存不足时开启)", "auto (where the memory asks for it)"),
    Choice("True", "开启", "On"),
    Choice("False", "关闭", "Off"),
)
_DPO_LOSSES = (
    Choice("sigmoid", "sigmoid(标准 DPO)", "sigmoid (plain DPO)"),
    Choice("ipo", "ipo(不追求无限拉开差距)", "ipo (aims at a fixed distance)"),
    Choice("hinge", "hinge(差距足够即止)", "hinge (stops once the distance is large enough)"),
    Choice("robust", "robust(容忍标注错误)", "robust (allows for wrong labels)"),
)
_LINEAR_LAYERS = tuple(
    Choice(name, name, name)
    for name in (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    )
)

HYPERPARAMETERS = {
    entry.key: entry
    for entry in (
        Hyperparameter(
            "epoch",
            Kind.INTEGER,
            "basic",
            "迭代轮次",
            "Epochs",
            "迭代轮次(epoch),控制训练过程中的迭代轮数。",
            "How many times training goes through the data.",
            source="seed, all models",
        ),
        Hyperparameter(
            "learningRate",
            Kind.FLOAT,
            "basic",
            "学习率",
            "Learning rate",
            "学习率(learning_rate)是在梯度下降的过程中更新权重时的超参数,过高会导致模型难以收敛,"
            "过低则会导致模型收敛速度过慢,平台已给出默认推荐值,可根据经验调整。",
            "The size of the steps in which gradient descent updates the weights. Too high and the "
            "model hardly converges, too low and it converges too slowly. The default is our "
            "recommendation; adjust it from experience.",
            source="seed, all models",
        ),
        Hyperparameter(
            "batchSize",
            Kind.INTEGER,
            "basic",
            "批处理大小",
            "Batch size",
            "批处理大小(Batchsize)表示在每次训练迭代中使用的样本数。较大的批处理大小可以加速训练,"
            "但可能会导致内存问题。",
            "How many samples each training iteration uses. A larger batch trains faster, but may not "
            "fit in memory.",
            source="seed, open models, text-to-image, image understanding",
            unit_zh="条",
            unit_en="samples",
        ),
        Hyperparameter(
            "maxSeqLen",
            Kind.INTEGER,
            "basic",
            "序列长度",
            "Sequence length",
            "单条样本的最大长度。如果训练数据较短,减少此项可以加快训练速度。",
            "The most tokens that one sample may have. Where the training data is short, a smaller "
            "value trains faster.",
            source="seed, open models",
            unit_zh="tokens",
            unit_en="tokens",
        ),
        Hyperparameter(
            "packing",
            Kind.CHOICE,
            "basic",
            "Packing",
            "Packing",
            "将多条训练样本拼接到一个seqLen长度内。",
            "Puts several training samples together into one sequence length.",
            source="seed, open text models",
            choices=_PACKING,
        ),
        Hyperparameter(
            "pseudoSamplingProb",
            Kind.FLOAT,
            "basic",
            "伪多轮概率",
            "Pseudo multi-turn probability",
            "采用数据拼接的数据增强策略提升长文本效果",
            "Joins samples into longer conversations with this probability: augmentation that improves "
            "results on long texts.",
            source="seed, ERNIE",
            advanced=True,
        ),
        Hyperparameter(
            "dpoBeta",
            Kind.FLOAT,
            "preferences",
            "DPO Beta",
            "DPO beta",
            "控制模型偏离训练前模型的程度(dpoBeta),数值越大,训练后的模型越接近训练前的模型。",
            "How strongly the model is held to what it was before training: the larger, the closer it stays.",
            source="CAP, DPO",
        ),
        Hyperparameter(
            "lossType",
            Kind.CHOICE,
            "preferences",
            "损失函数类型",
            "Loss",
            "偏好损失的计算方式(lossType)。",
            "How the distance between the chosen and the rejected reply becomes a loss.",
            source="CAP, DPO",
            choices=_DPO_LOSSES,
        ),
        Hyperparameter(
            "labelSmoothing",
            Kind.FLOAT,
            "preferences",
            "标签平滑系数",
            "Label smoothing",
            "仅用于 robust 损失,表示估计有多大比例的偏好标注是反的。",
            "Only for the robust loss: the share of the preferences that are taken to be the wrong way round.",
            source="ours",
            when={"lossType": ("robust",)},
        ),
        Hyperparameter(
            "ktoBeta",
            Kind.FLOAT,
            "preferences",
            "KTO Beta",
            "KTO beta",
            "控制模型偏离训练前模型的程度(ktoBeta),数值越大,训练后的模型越接近训练前的模型。",
            "How strongly the model is held to what it was before training: the larger, the closer it stays.",
            source="CAP, KTO",
        ),
        Hyperparameter(
            "desirableWeight",
            Kind.FLOAT,
            "preferences",
            "好回答权重",
            "Weight of good replies",
            "好回答的损失所乘的系数。好回答较少时可适当增大。",
            "By what the losses of good replies are multiplied. Raise it where they are few.",
            source="ours",
        ),
        Hyperparameter(
            "undesirableWeight",
            Kind.FLOAT,
            "preferences",
            "不好回答权重",
            "Weight of bad replies",
            "不好回答的损失所乘的系数。不好回答较少时可适当增大。",
            "By what the losses of bad replies are multiplied. Raise it where they are few.",
            source="ours",
        ),
        Hyperparameter(
            "centerRewards",
            Kind.FLOAT,
            "preferences",
            "奖励居中系数",
            "Centring of rewards",
            "使分数围绕 0 分布的强度;为0时不居中。",
            "How strongly the scores are drawn towards 0 on average; 0 leaves them where they are.",
            source="ours",
        ),
        Hyperparameter(
            "loraRank",
            Kind.INTEGER,
            "lora",
            "loraRank",
            "LoRA rank",
            "训练方式选择LoRA时填写,LoRA策略中rank,数值越大lora参数越多。",
            "With LoRA: the rank of the added matrices. The larger it is, the more LoRA parameters "
            "there are.",
            source="seed, open models",
        ),
        Hyperparameter(
            "loraAlpha",
            Kind.INTEGER,
            "lora",
            "loraAlpha",
            "LoRA alpha",
            "训练方式选择LoRA时填写,LoRA微调中的缩放系数,系数越大lora影响力越大。",
            "With LoRA: the scaling factor. The larger it is, the more weight LoRA has.",
            source="seed, open models",
        ),
        Hyperparameter(
            "loraDropout",
            Kind.FLOAT,
            "lora",
            "loraDropout",
            "LoRA dropout",
            "训练方式选择LoRA时填写,LoRA微调中的Dropout系数,用于防止lora训练中的过拟合。",
            "With LoRA: the dropout rate, against overfitting.",
            source="seed, open text models",
            advanced=True,
        ),
        Hyperparameter(
            "loraAllLinear",
            Kind.BOOLEAN,
            "lora",
            "LoRA所有线性层",
            "LoRA on all linear layers",
            "训练方式选择LoRA时填写,表示是否将 LoRA 策略应用在所有linear层。",
            "With LoRA: whether it is applied to all linear layers; otherwise to the query and value "
            "projections only.",
            source="seed, ERNIE",
            choices=_TRUE_FALSE,
        ),
        Hyperparameter(
            "loraTargetModules",
            Kind.MULTI_CHOICE,
            "lora",
            "loraTargetModules",
            "LoRA target modules",
            "训练方式选择LoRA时填写,LoRA参数层列表",
            "With LoRA: the layers that it is applied to.",
            source="seed, CodeLlama-7B",
            choices=_LINEAR_LAYERS,
            advanced=True,
        ),
        Hyperparameter(
            "gradientAccumulationSteps",
            Kind.INTEGER,
            "optimisation",
            "梯度累计步数",
            "Gradient accumulation steps",
            "将多次计算得到的梯度值进行累加,然后一次性进行参数更新。0为不指定自动计算",
            "Adds up the gradients of this many calculations before the parameters are updated once. 0 "
            "leaves the number to the trainer.",
            source="seed, ERNIE",
            advanced=True,
        ),
        Hyperparameter(
            "gradientCheckpointing",
            Kind.CHOICE,
            "optimisation",
            "梯度检查点",
            "Gradient checkpointing",
            "反向传播时重新计算激活值而不保存,占用更少的显存,训练略慢,结果不变。",
            "Computes activations again on the way back instead of keeping them: less memory, somewhat slower, "
            "the same result.",
            choices=_CHECKPOINTING,
            source="trainer",
            advanced=True,
        ),
        Hyperparameter(
            "weightDecay",
            Kind.FLOAT,
            "optimisation",
            "权重衰减数值",
            "Weight decay",
            "是一种正则化技术,用于帮助控制神经网络模型的复杂性以及减少过拟合的风险。",
            "A regularisation technique that helps to keep the network simple and lowers the risk of "
            "overfitting.",
            source="seed, open models",
            advanced=True,
        ),
        Hyperparameter(
            "seed",
            Kind.INTEGER,
            "optimisation",
            "随机种子",
            "Random seed",
            "随机种子",
            "The seed of the random numbers: the same seed, data and configuration give the same run.",
            source="seed, ERNIE",
            advanced=True,
        ),
        Hyperparameter(
            "schedulerName",
            Kind.CHOICE,
            "schedule",
            "学习率调整计划",
            "Learning rate schedule",
            "用于调整训练中学习率的变动方式。",
            "How the learning rate changes during training.",
            source="seed, all text models and image understanding",
            choices=_SCHEDULERS,
        ),
        Hyperparameter(
            "warmupRatio",
            Kind.FLOAT,
            "schedule",
            "学习率预热步数占比",
            "Warm-up share",
            "指训练初始阶段,在学习率较低的情况下逐渐增加学习率的比例或速率,能够帮助模型更好地适应数据,"
            "提高训练的稳定性和性能。",
            "The share of the steps, at the start of training, over which the learning rate rises "
            "gradually. It helps the model to adapt to the data and makes training steadier and better.",
            source="seed, all text models and image understanding",
        ),
        Hyperparameter(
            "numCycles",
            Kind.FLOAT,
            "schedule",
            "cosine 策略的波数",
            "Cosine waves",
            "仅用于 cosine 策略,表示波数。",
            "Only for the cosine schedule: the number of waves. 0.5 falls once, from the peak to the end.",
            source="seed, ERNIE",
            when={"schedulerName": ("cosine",)},
            advanced=True,
        ),
        Hyperparameter(
            "lrEnd",
            Kind.FLOAT,
            "schedule",
            "polynomial 策略的末端 LR",
            "Polynomial final learning rate",
            "仅用于 polynomial 策略,表示末端 LR(注意,该值若生效需要比学习率小)。",
            "Only for the polynomial schedule: the learning rate at the end. To take effect it must be "
            "smaller than the learning rate.",
            source="seed, ERNIE",
            when={"schedulerName": ("polynomial",)},
            advanced=True,
        ),
        Hyperparameter(
            "power",
            Kind.INTEGER,
            "schedule",
            "polynomial 策略的幂数",
            "Polynomial power",
            "仅用于 polynomial 策略,表示幂数。",
            "Only for the polynomial schedule: the power of the curve. 1 is a straight line.",
            source="seed, ERNIE",
            when={"schedulerName": ("polynomial",)},
            advanced=True,
        ),
        Hyperparameter(
            "validationStep",
            Kind.INTEGER,
            "evaluation",
            "验证步数",
            "Validation interval",
            "Validation Step,计算验证集Loss的间隔步数;为0时不开启验证,没有相关指标。",
            "The loss on the validation set is computed every so many steps. At 0 there is no "
            "validation, and none of its metrics.",
            source="seed, all text models and image understanding",
            unit_zh="步",
            unit_en="steps",
        ),
        Hyperparameter(
            "earlyStopping",
            Kind.BOOLEAN,
            "evaluation",
            "早停策略",
            "Early stopping",
            "监控精调任务的指标变化情况,指标连续不变则提前终止任务。",
            "Watches a metric of the run and ends it early once the metric has stopped changing.",
            source="seed, ERNIE",
            choices=_TRUE_FALSE,
        ),
        Hyperparameter(
            "earlyStopMetric",
            Kind.CHOICE,
            "evaluation",
            "早停指标",
            "Early stopping metric",
            "早停策略选择true时显示,任务早停的监控指标。",
            "Shown while early stopping is on: the metric that is watched.",
            source="seed, ERNIE",
            choices=(
                Choice("validationLoss", "验证集 Loss", "Validation loss"),
                Choice("trainingLoss", "训练集 Loss", "Training loss"),
            ),
            when={"earlyStopping": ("True",)},
        ),
        Hyperparameter(
            "earlyStoppingThreshold",
            Kind.FLOAT,
            "evaluation",
            "早停指标变化量",
            "Early stopping threshold",
            "早停策略选择true时显示,当精调任务指标的变化量超过早停指标变化量时才认为发生变化。",
            "Shown while early stopping is on: the metric counts as changed only when it changes by "
            "more than this.",
            source="seed, ERNIE",
            when={"earlyStopping": ("True",)},
        ),
        Hyperparameter(
            "earlyStoppingPatience",
            Kind.INTEGER,
            "evaluation",
            "早停指标稳定次数",
            "Early stopping patience",
            "早停策略选择true时显示,早停指标连续不变化的次数。",
            "Shown while early stopping is on: after so many validations in a row without a change the "
            "run ends.",
            source="seed, ERNIE",
            when={"earlyStopping": ("True",)},
            unit_zh="次",
            unit_en="validations",
        ),
        Hyperparameter(
            "checkpointCount",
            Kind.INTEGER,
            "checkpoints",
            "Checkpoint保存个数",
            "Checkpoints kept",
            "训练过程最终要保存的Checkpoint个数,Checkpoint保存会增加训练时长。",
            "How many checkpoints are kept at the end. Saving checkpoints makes training longer.",
            source="seed, all text models and image understanding but Meta-Llama-3-8B",
        ),
        Hyperparameter(
            "saveStep",
            Kind.INTEGER,
            "checkpoints",
            "Checkpoint保存间隔数",
            "Checkpoint interval",
            "训练过程中保存Checkpoint的间隔Step数。",
            "A checkpoint is saved every so many steps.",
            source="seed, all text models and image understanding but Meta-Llama-3-8B",
            unit_zh="步",
            unit_en="steps",
        ),
        Hyperparameter(
            "loggingSteps",
            Kind.INTEGER,
            "checkpoints",
            "保存日志间隔",
            "Log interval",
            "日志保存间隔步数。",
            "Metrics are logged every so many steps.",
            source="seed, ERNIE",
            unit_zh="步",
            unit_en="steps",
            advanced=True,
        ),
    )
}


def key_choices() -> list[tuple[str, str]]:
    """For the field of a model: asked when needed, so that a further hyperparameter needs no migration."""
    return [(key, key) for key in HYPERPARAMETERS]


class Offered(Protocol):
    """What this module needs to know of an offered hyperparameter (catalog.models.OfferedHyperparameter)."""

    @property
    def method(self) -> str: ...

    key: str
    default: Value
    minimum: float | None
    maximum: float | None
    choices: list[Value] | None


def visible_keys(offered: Iterable[Offered], values: Mapping[str, Raw]) -> list[str]:
    """The keys, in the order offered, whose conditions hold under `values`.

    `values` may be unparsed and incomplete: where a value that decides is missing or nonsense, its
    default decides. A condition on a hyperparameter that is not offered never holds; the reverse is fine
    (ERNIE-Tiny-128K-0929 offers earlyStopping without its three details, which are then the trainer's
    defaults).
    """
    by_key = {item.key: item for item in offered}

    def is_visible(key: str) -> bool:
        return all(
            decider in by_key and is_visible(decider) and _deciding_value(by_key[decider], values) in accepted
            for decider, accepted in HYPERPARAMETERS[key].when.items()
        )

    return [key for key in by_key if is_visible(key)]


def _deciding_value(item: Offered, values: Mapping[str, Raw]) -> Value:
    try:
        return parse(HYPERPARAMETERS[item.key].kind, values[item.key])
    except (KeyError, InvalidValue):
        return item.default


def clean(offered: Sequence[Offered], raw: Mapping[str, Raw]) -> tuple[dict[str, Value], dict[str, str]]:
    """The values that a run gets, and a message in the active language for every key that has none.

    Serves form and API alike: `raw` holds texts, lists of texts or JSON values. What is missing gets its
    default (a key that is there but empty is an error), what is hidden is left out, what is not offered
    is not looked at (see `unknown_keys`). A form passes `getlist` for MULTI_CHOICE, so that nothing
    ticked arrives as [].
    """
    values: dict[str, Value] = {}
    errors: dict[str, str] = {}
    visible = set(visible_keys(offered, raw))
    shown = [item for item in offered if item.key in visible]
    for item in shown:
        try:
            values[item.key] = clean_value(item, raw.get(item.key, item.default))
        except InvalidValue as error:
            errors[item.key] = str(error)
    if shown and not errors:
        errors = conflicts(shown[0].method, values)
    return values, errors


def conflicts(method: str, values: Mapping[str, Value], *, has_eval: bool | None = None) -> dict[str, str]:
    """What the trainer has against these values together: key to message. `has_eval` says whether there is a test
    set, None where that is not known.

    A problem of a hyperparameter that is not among the values (the trainer's own default clashes with
    what was entered, such as a learning rate below the usual end of a polynomial schedule) is reported at
    the learning rate or, failing that, at the first value: a message at a field that nobody sees would
    help nobody.
    """
    errors: dict[str, str] = {}
    for problem in check(method, values, has_eval=has_eval):
        place = next(key for key in (problem.key, "learningRate", *values) if key in values)
        errors.setdefault(place, problems.message(problem))
    return errors


def clean_value(item: Offered, raw: Raw) -> Value:
    """The value `raw` stands for, within what is offered. Raises InvalidValue."""
    value = parse(HYPERPARAMETERS[item.key].kind, raw)
    check_bounds(value, item.minimum, item.maximum, item.choices)
    return value


def unknown_keys(offered: Iterable[Offered], raw: Iterable[str]) -> list[str]:
    """The keys in `raw` that are not offered: an API should refuse them rather than drop a misspelt one."""
    known = {item.key for item in offered}
    return [key for key in raw if key not in known]
