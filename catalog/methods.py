"""The training methods. Keys are those of Qianfan's API (`parameterScale`)."""

from dataclasses import dataclass

from django.utils.functional import lazy

from catalog.texts import localized


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train. An offer may replace the help text, as the seed words it differently in places.

    `incremental_base` says whether its results may be the base of an incremental run (seed, section 训练配置:
    only models from full fine-tuning may).
    """

    key: str
    label_zh: str
    label_en: str
    help_zh: str
    help_en: str
    incremental_base: bool = False


METHODS = {
    method.key: method
    for method in (
        Method(
            "FullFineTuning",
            "全量更新",
            "Full fine-tuning",
            "全量更新在训练过程中对大模型的全部参数进行更新",
            "Updates every parameter of the model during training.",
            incremental_base=True,
        ),
        Method(
            "LoRA",
            "LoRA",
            "LoRA",
            "在固定预训练大模型本身的参数的基础上,在保留自注意力模块中原始权重矩阵的基础上,对权重矩阵进行低秩分解,"
            "训练过程中只更新低秩部分的参数。",
            "Keeps the pre-trained parameters fixed, adds a low-rank decomposition beside the original "
            "weight matrices of the self-attention blocks, and trains only the low-rank part.",
        ),
    )
}
METHOD_CHOICES = [(method.key, lazy(localized, str)(method, "label")) for method in METHODS.values()]
