"""What each job type asks of its data, in one table; jobs/data_checks.py holds configurations against it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from catalog.models import ModelType
from datasets.mixing import TEST_ROWS
from datasets.models import RowType
from jobs.training.trainers import SFT, mode_of, trainer_for


@dataclass(frozen=True)
class DataRules:
    """`minimum_rows` counts after sampling and mixing; of more than `most_rows` rows a random part of that size
    is taken. `split_range` is in percent, and at most `most_held_out` rows are held out. Ranges include their
    ends. `allows_mixing` says whether sampling rates other than 1 and a general corpus may be asked for.
    """

    row_type: str
    minimum_rows: int
    most_rows: int | None
    split_default: float
    split_range: tuple[float, float]
    most_held_out: int | None
    allows_mixing: bool


# Seed, the sections 数据配置. Where the seed gives no range for the split, the upper end is the API's (splitRatio
# 0..50 in the first documentation of CreateFineTuningTask) and the default is the SDK's.
DATA_RULES: dict[str, DataRules] = {
    ModelType.TEXT_TO_TEXT: DataRules(
        row_type=RowType.MESSAGES,
        minimum_rows=100,
        most_rows=None,
        split_default=20.0,
        split_range=(0.0, 50.0),
        most_held_out=None,
        allows_mixing=True,
    ),
    # 数据集个数应为10-2000张图片，若大于2000张，将会随机选择2000张作为训练数据.
    ModelType.TEXT_TO_IMAGE: DataRules(
        row_type=RowType.IMAGE_CAPTION,
        minimum_rows=10,
        most_rows=2000,
        split_default=20.0,
        split_range=(0.0, 50.0),
        most_held_out=None,
        allows_mixing=False,
    ),
    # 取值范围为[0-20]。默认取值为5 … 如果数据集大于1000条，将取前1000条数据做验证集.
    ModelType.IMAGE_UNDERSTANDING: DataRules(
        row_type=RowType.IMAGE_MESSAGES,
        minimum_rows=1,
        most_rows=None,
        split_default=5.0,
        split_range=(0.0, 20.0),
        most_held_out=TEST_ROWS,
        allows_mixing=False,
    ),
}


def rules_for(model_type: str, method: str = "") -> DataRules:
    """The rules of a job type under a method: in the modes other than SFT rows of another kind, which its trainer
    names, and the same rules otherwise. Raises KeyError for an unknown type.
    """
    rules = DATA_RULES[model_type]
    trainer = trainer_for(model_type, method) if mode_of(method) != SFT else None
    return replace(rules, row_type=trainer.row_type) if trainer else rules


# Seed: 取值范围为[0.01-10], 推荐过采样率范围为[1-5].
SAMPLING_RATE_RANGE = (0.01, 10.0)
RECOMMENDED_RATE = 5.0
# Rows of the general corpus for each row of own data; seed: 推荐默认选择的数据配比为混合语料：用户数据=1:5.
CORPUS_RATIO_DEFAULT = 0.2
CORPUS_RATIO_RANGE = (0.001, 10.0)
