"""What a person asks for when a run is created, and the one place that decides whether it may start.

The wizard, the API and the admin all build a `Configuration` and call `problems` and `submit`; there is no
other way to a run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog.models import BaseModel, Offer
from catalog.models.registry import validate_model_name
from console.models import User, Workspace
from datasets.models import DatasetVersion, RowType, VersionState
from jobs.models import ACTIVE_STATES, Job, Publication, Run, RunSource
from jobs.training.trainers import TRAINERS

# Seed, section 数据配置: sampling rate in [0.01, 10]; at least 100 rows after sampling; at most the first
# 1000 rows of a chosen test set. The split's upper end is the API's (qianfan: splitRatio 0..20 in the newest
# pages, 0..50 before); its default is the SDK's.
SAMPLING_RATE_RANGE = (0.01, 10.0)
MINIMUM_ROWS = 100
TEST_ROWS = 1000
SPLIT_RANGE = (0.0, 50.0)
SPLIT_DEFAULT = 20.0


@dataclass(frozen=True)
class Source:
    """A dataset version and how often its rows are taken, in [0.01, 10]."""

    version: DatasetVersion
    sampling_rate: float = 1.0

    @property
    def rows(self) -> int:
        """Rows that it gives after sampling: the seed's rows × rate, rounded to whole rows."""
        return round(self.version.row_count * self.sampling_rate)


@dataclass
class Configuration:
    """One run as it is asked for. `job` is None for the first run of a new job.

    `hyperparameters` holds cleaned values of the visible fields only (catalog.hyperparameters.clean), and
    `split_ratio` is in percent; it counts only without a `test_version`.
    """

    name: str
    model_type: str
    description: str = ""
    job: Job | None = None
    base_model: BaseModel | None = None
    method: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    split_ratio: float = SPLIT_DEFAULT
    test_version: DatasetVersion | None = None
    auto_publish: bool = False
    model_name: str = ""
    # Errors found while reading the input (hyperparameters out of range and the like): {field: [message]}.
    errors: dict[str, list[str]] = field(default_factory=dict)


def offer_of(configuration: Configuration) -> Offer | None:
    """The enabled offer for the chosen base model and method, if there is one."""
    if configuration.base_model is None:
        return None
    return Offer.objects.filter(
        base_model=configuration.base_model, method=configuration.method, enabled=True
    ).first()


def training_rows(configuration: Configuration) -> tuple[int, int]:
    """Rows for training and for the test set, after sampling and splitting."""
    total = sum(source.rows for source in configuration.sources)
    if configuration.test_version is not None:
        return total, min(TEST_ROWS, configuration.test_version.row_count)
    held_out = min(TEST_ROWS, int(total * configuration.split_ratio / 100))
    return total - held_out, held_out
