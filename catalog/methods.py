"""The training modes and methods. Keys are those of Qianfan's API (`trainMode`, `parameterScale`).

A method is a mode and a scale, what of the model is trained. Those of supervised fine-tuning, the seed's, bear the
name of their scale alone; LoRA on preferences is DPO-LoRA.
"""

from dataclasses import dataclass, replace
from typing import Any

from django.utils.functional import lazy

from catalog.texts import localized
from jobs.training.trainers import DPO, KTO, LORA, QLORA, REWARD, SFT, method_of, mode_of, scale_of


@dataclass(frozen=True, slots=True)
class Mode:
    """What a model learns from. `name` stands before the scale in the label of a method."""

    key: str
    label_zh: str
    label_en: str
    help_zh: str
    help_en: str
    name_zh: str
    name_en: str
    # Whether what it trains answers, so that one may go on training it.
    answers: bool = True

    @property
    def label(self) -> str:
        return localized(self, "label")

    @property
    def help(self) -> str:
        return localized(self, "help")


MODES = {
    mode.key: mode
    for mode in (
        Mode(
            SFT,
            "SFT(有监督微调)",
            "SFT (supervised fine-tuning)",
            "使用问题与回答的对话数据,让模型学会按示例回答。",
            "Learns from conversations to answer as the examples do.",
            "SFT",
            "SFT",
        ),
        Mode(
            DPO,
            "DPO(直接偏好优化)",
            "DPO (direct preference optimisation)",
            "使用同一问题的偏好回答(chosen)与非偏好回答(rejected),让模型更倾向于偏好的回答。",
            "Learns from pairs of a chosen and a rejected reply to the same question to prefer the chosen one.",
            "DPO",
            "DPO",
        ),
        Mode(
            KTO,
            "KTO(单条偏好优化)",
            "KTO (learning from judged replies)",
            "使用标注了好或不好的单条回答,让模型更倾向于好的回答,不需要成对的数据。",
            "Learns from single replies that are marked as good or bad. It needs no pairs.",
            "KTO",
            "KTO",
        ),
        Mode(
            REWARD,
            "奖励模型",
            "Reward model",
            "使用同一问题按好坏排序的多个回答,训练为回答打分的模型。该模型只输出分数,不能对话。",
            "Learns to score replies from sorted ones. The result gives a number and no text.",
            "奖励模型",
            "Reward model",
            answers=False,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Method:
    """A way to train. An offer may replace the help text, as the seed words it differently in places.

    `incremental_base` says whether its results may be the base of an incremental run (seed, section 训练配置:
    only models from full fine-tuning may, after SFT, DPO or KTO). `like` is the method whose hyperparameters it has
    where a data file says nothing of its own.
    """

    key: str
    label_zh: str
    label_en: str
    help_zh: str
    help_en: str
    incremental_base: bool = False
    like: str = ""

    @property
    def label(self) -> str:
        return localized(self, "label")

    @property
    def mode(self) -> Mode:
        return MODES[mode_of(self.key)]

    @property
    def scale(self) -> "Method":
        """The method of supervised fine-tuning that trains the same part of the model."""
        return METHODS[scale_of(self.key)]


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
        Method(
            QLORA,
            "QLoRA",
            "QLoRA",
            "将固定的基础模型以4比特(NF4)保存,只更新低秩部分的参数。占用的显存约为LoRA的三分之一,训练略慢。",
            "LoRA beside a base model that is kept in 4 bits (NF4): about a third of LoRA's memory, and somewhat "
            "slower.",
            like=LORA,
        ),
    )
}
METHODS |= {
    method_of(mode.key, scale.key): replace(
        scale,
        key=method_of(mode.key, scale.key),
        label_zh=f"{mode.name_zh} · {scale.label_zh}",
        label_en=f"{mode.name_en} · {scale.label_en}",
        incremental_base=scale.incremental_base and mode.answers,
        like=method_of(mode.key, scale.like) if scale.like else "",
    )
    for mode in MODES.values()
    if mode.key != SFT
    for scale in (*METHODS.values(),)
}


def method_choices() -> list[tuple[str, Any]]:
    """For the fields of models: asked when needed, so that a further method needs no migration."""
    return [(method.key, lazy(localized, str)(method, "label")) for method in METHODS.values()]
