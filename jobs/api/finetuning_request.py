"""CreateFineTuningTask as a `Configuration`; whether it may start, jobs.configuration decides as for the wizard."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.utils.translation import gettext as _

from catalog import queries
from catalog.api.supported_models import api_keys, own_keys
from catalog.hyperparameters import clean, unknown_keys
from catalog.models import BaseModel, Offer
from console.api.errors import Refused, invalid, not_found
from console.api.keys import Caller
from datasets.api.lookups import version as version_of
from datasets.mixing import Source
from datasets.models import SharedData, SharedKind
from jobs import incremental
from jobs.api import lookups
from jobs.api.finetuning_bodies import CorpusConfig, CreateTask, DatasetConfig, ResourceConfig
from jobs.configuration import Configuration, Problems
from jobs.data_rules import CORPUS_RATIO_DEFAULT
from jobs.hyperparameter_fields import PREFIX
from jobs.models import Job, Pool
from jobs.resources import Resources, offered_counts
from jobs.training.trainers import mode_of, scale_of

# The fields of jobs.configuration.problems as this API calls them.
_FIELDS = {
    "name": "name",
    "description": "description",
    "type": "trainMode",
    "mode": "trainMode",
    "base_model": "model",
    "method": "parameterScale",
    "sources": "datasetConfig.versions",
    "split_ratio": "datasetConfig.splitRatio",
    "test_source": "datasetConfig.validationVersions",
    "base_run": "incrementTaskId",
    "base_step": "incrementCheckpointStep",
    "corpus": "corpusConfig",
    "corpus_ratio": "corpusConfig",
    "pool": "resourceConfig.resourceId",
    "devices": "resourceConfig.nodeNum",
    "idle": "resourceConfig.idleResource",
}


def refusal(problems: Problems, base_model: BaseModel | None = None) -> Refused:
    """All problems of a configuration in one answer, under the names of this API's fields."""
    spelling = api_keys(base_model) if base_model else {}
    named = [(_field(name, spelling), message) for name, texts in problems.items() for message in texts]
    text = " ".join(f"{field}: {message}" for field, message in named)
    return invalid(text, named[0][0])


def _field(name: str, spelling: Mapping[str, str]) -> str:
    if name.startswith(PREFIX):
        key = name.removeprefix(PREFIX)
        return f"hyperParameterConfig.{spelling.get(key, key)}"
    if name.startswith("rate-"):
        return f"datasetConfig.versions[{name.removeprefix('rate-')}].samplingRate"
    return _FIELDS.get(name, name)


def configuration_of(caller: Caller, job: Job, body: CreateTask) -> Configuration:
    """The run that is asked for. Raises Refused for what names nothing here."""
    if body.model_config:
        raise invalid("Custom models are bound by an operator.", "modelConfig")
    base_model = lookups.base_model_of(job)
    if base_model is None:
        raise invalid("This job has no base model yet: start its first run in the console.", "jobId")
    errors = Problems()
    offer = _offer(base_model, lookups.mode_of_job(job), body.parameter_scale, errors)
    given = own_keys(body.hyper_parameter_config)
    offered = list(offer.hyperparameters.all()) if offer else []
    values, complaints = clean(offered, given)
    errors |= {PREFIX + key: [message] for key, message in complaints.items()}
    if offer:
        for key in unknown_keys(offered, given):
            errors[PREFIX + key] = [
                _("%(key)s is not a hyperparameter of this model and method.") % {"key": key}
            ]
    corpus, corpus_ratio = _corpus(body.corpus_config, errors)
    configuration = Configuration(
        name=job.name,
        model_type=job.model_type,
        description=job.description,
        job=job,
        base_model=base_model,
        method=offer.method if offer else body.parameter_scale or "",
        hyperparameters=values,
        corpus=corpus,
        corpus_ratio=corpus_ratio,
        resources=_resources(body.resource_config, errors),
        errors=errors,
    )
    _read_data(caller, body.dataset_config, configuration)
    _read_base(caller, body, configuration)
    return configuration


def _offer(base_model: BaseModel, mode: str, scale: str | None, errors: Problems) -> Offer | None:
    """The offer of that mode and scale; without a scale, the only offer there is."""
    offers = [offer for offer in queries.offers(base_model) if mode_of(offer.method) == mode]
    if scale is None and len(offers) == 1:
        return offers[0]
    found = next((offer for offer in offers if scale_of(offer.method) == scale), None)
    if found is None:
        scales = ", ".join(scale_of(offer.method) for offer in offers)
        message = _("%(model)s offers these training methods: %(methods)s.")
        errors["method"] = [message % {"model": base_model.name, "methods": scales}]
    return found


def _read_data(caller: Caller, data: DatasetConfig, configuration: Configuration) -> None:
    if data.source_type != "Platform" or data.validation_source_type != "Platform":
        raise invalid(
            "Only datasets of the console are trained on (Platform).",
            "datasetConfig.sourceType",
        )
    param = "datasetConfig.versions"
    seen = set()
    for version in data.versions:
        found = version_of(caller, version.version_id, f"{param}.versionId", own=False)
        if found.pk in seen:
            raise invalid(f"{found.uid} is named twice.", param)
        seen.add(found.pk)
        rate = 1.0 if version.sampling_rate is None else version.sampling_rate
        configuration.sources.append(Source(found, rate))
    if data.split_ratio is not None:
        configuration.split_ratio = data.split_ratio
    if len(data.validation_versions) > 1:
        raise invalid("One validation set is enough.", "datasetConfig.validationVersions")
    for version in data.validation_versions:
        configuration.test_version = version_of(
            caller, version.version_id, "datasetConfig.validationVersions.versionId", own=False
        )


def _read_base(caller: Caller, body: CreateTask, configuration: Configuration) -> None:
    """Incremental training: the run to build on, and the checkpoint of it."""
    if not body.increment_task_id:
        return
    base = incremental.find_base(caller.workspace, body.increment_task_id)
    if base is None:
        raise not_found(
            f"There is no task {body.increment_task_id!r} in this workspace.",
            "incrementTaskId",
        )
    configuration.base_run = base
    configuration.base_step = body.increment_checkpoint_step
    if body.increment_checkpoint_step is None:
        configuration.base_step = incremental.default_step(base)


def _corpus(asked: CorpusConfig | None, errors: Problems) -> tuple[SharedData | None, float]:
    """The general corpus and its share; whichever kind of corpus is named, the operator's first is meant."""
    if asked is None or not asked.config:
        return None, CORPUS_RATIO_DEFAULT
    corpus = (
        SharedData.objects.filter(kind=SharedKind.CORPUS, enabled=True)
        .select_related("version__dataset")
        .first()
    )
    if corpus is None:
        errors["corpus"] = [_("No general corpus is offered here.")]
    elif len(asked.config) > 1:
        errors["corpus"] = [_("Only one general corpus can be mixed in.")]
    ratio = _ratio(asked.config[0].proportion)
    if ratio is None:
        errors["corpus_ratio"] = [_("Write the proportion as 1:5 or as 20%.")]
    return corpus, ratio or CORPUS_RATIO_DEFAULT


def _ratio(proportion: str | float | None) -> float | None:
    """Rows of the corpus for one row of own data; None for what cannot be read."""
    if proportion is None:
        return CORPUS_RATIO_DEFAULT
    text = str(proportion)
    if match := re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*%?\s*", text):
        return float(match[1]) / 100
    if match := re.fullmatch(r"\s*1\s*:\s*(\d{1,6}(?:\.\d{1,6})?)\s*", text):
        return 1 / float(match[1]) if float(match[1]) else None
    return None


def _resources(asked: ResourceConfig | None, errors: Problems) -> Resources:
    """The pool that is named, else the first, with as many devices as asked for, else its smallest number."""
    asked = asked or ResourceConfig()
    pools = list(Pool.objects.filter(enabled=True))
    pool = pools[0] if pools else None
    if asked.resource_id:
        pool = next((item for item in pools if item.queue == asked.resource_id), None)
        if pool is None:
            errors["pool"] = [
                _("%(name)s is not one of the resource pools offered here.") % {"name": asked.resource_id}
            ]
    return Resources(pool, asked.node_num or offered_counts(pool)[0], asked.idle_resource)
