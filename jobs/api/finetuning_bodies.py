"""The bodies of Qianfan's fine-tuning actions, V2. What is left out or null has its default."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from console.api.qianfan import Page


class CreateJob(Struct, rename="camel"):
    name: str
    model: str
    train_mode: str
    description: str | None = None


class Version(Struct, rename="camel"):
    """One dataset version of a task; `version_bos_uri` is read only to be refused."""

    version_id: str = ""
    sampling_rate: float | None = None
    version_bos_uri: str = ""


class DatasetConfig(Struct, rename="camel"):
    """`split_ratio` is in percent. The names of the validation set are ours: Qianfan's are not published."""

    versions: list[Version]
    source_type: str = "Platform"
    split_ratio: float | None = None
    validation_source_type: str = "Platform"
    validation_versions: list[Version] = field(default_factory=list)


class CorpusPart(Struct, rename="camel"):
    """`proportion` is "x%" or "1:n", general corpus to own data."""

    corpus_type: int | None = None
    proportion: str | float | None = None


class CorpusConfig(Struct, rename="camel"):
    config: list[CorpusPart] = field(default_factory=list)


class ResourceConfig(Struct, rename="camel"):
    """`resource_id` names a pool by its queue."""

    resource_id: str | None = None
    node_num: int | None = None
    idle_resource: bool = False


class CreateTask(Struct, rename="camel"):
    job_id: str
    dataset_config: DatasetConfig
    hyper_parameter_config: dict[str, Any] = field(default_factory=dict)
    parameter_scale: str | None = None
    increment_task_id: str | None = None
    increment_checkpoint_step: int | None = None
    corpus_config: CorpusConfig | None = None
    resource_config: ResourceConfig | None = None
    model_config: dict[str, Any] | None = None


class ListJobs(Page):
    """`train_model` is what the SDK sends instead of `train_mode`."""

    train_mode: str | None = None
    train_model: str | None = None
    model: str | None = None


class ListTasks(Page, kw_only=True):
    job_id: str


class OneTask(Struct, rename="camel"):
    task_id: str


class OneJob(Struct, rename="camel"):
    job_id: str
