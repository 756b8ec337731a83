"""What a person asks for when a run is created, and the one place that decides whether it may start.

The wizard, the API and the admin all build a `Configuration` and call `problems` and `submit`; there is no
other way to a run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from catalog.hyperparameters import conflicts
from catalog.models import BaseModel, Model, Offer
from console.models import User, Workspace
from datasets.mixing import TEST_ROWS, Source
from datasets.models import DatasetVersion, SharedData
from jobs import incremental, lifecycle
from jobs.data_checks import check_data, check_places
from jobs.data_rules import CORPUS_RATIO_DEFAULT, DATA_RULES
from jobs.estimate import estimate
from jobs.hyperparameter_fields import PREFIX
from jobs.mix import MixPart, mix
from jobs.models import ACTIVE_STATES, Job, Publication, Run, RunSource
from jobs.resources import Resources, resource_problems
from jobs.training.trainers import SFT, TRAINERS, methods_of, trainer_for

Problems = dict[str, list[str]]


@dataclass
class Configuration:
    """One run as it is asked for. `job` is None for the first run of a new job.

    `hyperparameters` holds cleaned values of the visible fields only (catalog.hyperparameters.clean), and
    `split_ratio` is in percent; it counts only without a `test_version`. `errors` are those found while the
    input was read (a value out of its range and the like), by field.
    """

    name: str
    model_type: str
    description: str = ""
    job: Job | None = None
    base_model: BaseModel | None = None
    method: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)
    split_ratio: float = field(default=None)  # type: ignore[assignment]  # None: the default of the type
    test_version: DatasetVersion | None = None
    corpus: SharedData | None = None
    corpus_ratio: float = CORPUS_RATIO_DEFAULT
    base_run: Run | None = None
    base_step: int | None = None
    base_mix: float = incremental.MIX_DEFAULT
    resources: Resources = field(default_factory=Resources)
    auto_publish: bool = False
    model_name: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    errors: Problems = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.split_ratio is None and self.model_type in DATA_RULES:
            self.split_ratio = DATA_RULES[self.model_type].split_default


class ConfigurationRefused(Exception):
    """A run that may not start; `problems` says why, by field."""

    def __init__(self, problems: Problems) -> None:
        super().__init__(problems)
        self.problems = problems


def training_rows(configuration: Configuration, parts: Sequence[MixPart] | None = None) -> tuple[int, int]:
    """Rows to train on and rows of the test set, after splitting, sampling and mixing; `parts` is the mix of the
    configuration where it is known."""
    parts = mix(configuration) if parts is None else parts
    trained = sum(part.trained for part in parts)
    if configuration.test_version is not None:
        return trained, min(TEST_ROWS, configuration.test_version.row_count)
    return trained, sum(part.held_out for part in parts)


def problems(workspace: Workspace, configuration: Configuration) -> Problems:
    """Everything that keeps a configuration from starting, by form field; empty if it may start.

    Fields: name, type, description, base_model, method, hp-<key>, base_run, base_step, base_mix, sources,
    rate-<uid>, corpus, corpus_ratio, split_ratio, test_source, pool, devices, idle, model_name.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name, messages in configuration.errors.items():
        found[name] += messages
    if configuration.model_type not in DATA_RULES:
        return dict(found) | {"type": [_("Choose a job type.")]}
    _check_job(workspace, configuration, found)
    _check_model(configuration, found)
    incremental.check_base(workspace, configuration, found)
    check_data(workspace, configuration, found)
    _check_evaluation(configuration, found)
    for name, messages in resource_problems(configuration.resources).items():
        found[name] = found[name] or messages
    if configuration.auto_publish:
        _check_publication(workspace, configuration, found)
    return dict(found)


def _check_job(workspace: Workspace, configuration: Configuration, found: Problems) -> None:
    """Name and description, and what a job fixes for its later runs."""
    if configuration.job is None:
        job = Job(
            workspace=workspace,
            name=configuration.name,
            model_type=configuration.model_type,
            description=configuration.description,
        )
        found_by_field = {"name": "name", "description": "description", "__all__": "name"}
        try:
            # The identifier is new, and the workspace is there: neither is looked up.
            job.clean_fields(exclude=["uid", "workspace", "created_by"])
            job.validate_constraints()
        except ValidationError as error:
            for key, messages in error.message_dict.items():
                if key in found_by_field:
                    found[found_by_field[key]] += messages
        return
    if configuration.model_type != configuration.job.model_type:
        found["type"].append(_("The type of an existing job cannot change."))
    active = (
        configuration.job.runs.filter(state__in=ACTIVE_STATES).select_related("base_model__family").first()
    )
    if (
        active
        and configuration.base_model
        and active.base_model.family_id != configuration.base_model.family_id
    ):
        # Seed, section 创建任务: 如果已有运行中的版本，再次创建的运行任务不可切换基础模型类型.
        found["base_model"].append(
            _(
                "%(run)s of this job is still active on %(family)s: the base model cannot be switched until it ends."
            )
            % {"run": active.label, "family": active.base_model.family.label}
        )


def _check_model(configuration: Configuration, found: Problems) -> None:
    """The base model is offered for that type and method, somebody bound weights, and a trainer exists."""
    model = configuration.base_model
    if model is None or not model.enabled or model.family.model_type != configuration.model_type:
        found["base_model"].append(_("Choose a base model."))
        return
    if configuration.model_type not in TRAINERS:
        found["type"].append(_("This installation has no trainer for this type yet."))
    if not model.is_bound and configuration.base_run is None:
        found["base_model"].append(
            _("No weights are bound to %(model)s yet. An operator binds them in the admin.")
            % {"model": model.name}
        )
    offered = Offer.objects.filter(base_model=model, method=configuration.method, enabled=True).exists()
    if not offered or trainer_for(configuration.model_type, configuration.method) is None:
        found["method"].append(_("Choose one of the training methods of %(model)s.") % {"model": model.name})


def _check_evaluation(configuration: Configuration, found: Problems) -> None:
    """What is measured on a test set has one: the trainer would refuse the run once it has begun."""
    if found or configuration.base_model is None:
        return  # what is held out makes no sense yet, or the values themselves do not
    wanted = conflicts(configuration.method, configuration.hyperparameters, has_eval=False)
    if wanted and training_rows(configuration)[1] == 0:
        found.update({PREFIX + key: [message] for key, message in wanted.items()})


def _check_publication(workspace: Workspace, configuration: Configuration, found: Problems) -> None:
    """The name is well formed, and an existing model of that name is of the same type."""
    name = configuration.model_name
    existing = Model.objects.filter(workspace=workspace, name=name).first()
    if existing is not None:
        if existing.model_type != configuration.model_type:
            found["model_name"].append(_("The model of that name is of another type."))
        return
    try:
        Model(workspace=workspace, name=name, model_type=configuration.model_type).clean_fields(["workspace"])
    except ValidationError as error:
        found["model_name"] += error.message_dict.get("name", [])


def submit(workspace: Workspace, user: User, configuration: Configuration) -> Run:
    """Creates the run (and its job, if it is the first) and wakes a worker when the transaction is committed.

    Raises ConfigurationRefused with every problem found.
    """
    if changed := check_places(configuration):
        raise ConfigurationRefused(changed)
    with transaction.atomic():
        if configuration.job is not None:
            # One new run of a job at a time: version numbers and the rule about active runs hold under load.
            configuration.job = Job.objects.select_for_update().get(pk=configuration.job.pk)
        if found := problems(workspace, configuration):
            raise ConfigurationRefused(found)
        job = configuration.job or _new_job(workspace, user, configuration)
        run = _create_run(job, user, configuration)
        lifecycle.note(run, "submitted", actor=user)
    return run


def create_job(
    workspace: Workspace, user: User, name: str, base_model: BaseModel, description: str = "", mode: str = SFT
) -> Job:
    """Creates a job whose runs are still to come, on a base model and in a mode that it is offered in; raises
    ConfigurationRefused."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    wanted = Configuration(name=name, model_type=base_model.family.model_type, description=description)
    with transaction.atomic():
        _check_job(workspace, wanted, found)
        offered = Offer.objects.filter(base_model=base_model, method__in=methods_of(mode), enabled=True)
        if not offered.exists():
            text = _("%(model)s is not trained in the mode %(mode)s here.")
            found["mode"].append(text % {"model": base_model.name, "mode": mode})
        if found:
            raise ConfigurationRefused(dict(found))
        return _new_job(workspace, user, wanted, base_model, mode)


def _new_job(
    workspace: Workspace,
    user: User,
    configuration: Configuration,
    base_model: BaseModel | None = None,
    mode: str = "",
) -> Job:
    """The row of a job whose configuration was checked; `base_model` and `mode` are what its first run has."""
    return Job.objects.create(
        workspace=workspace,
        name=configuration.name,
        model_type=configuration.model_type,
        description=configuration.description,
        base_model=base_model,
        mode=mode,
        created_by=user,
    )


def _create_run(job: Job, user: User, configuration: Configuration) -> Run:
    """The rows of a run whose configuration was checked."""
    if configuration.base_model is None:
        raise ValueError("a checked configuration has a base model")
    version = job.next_version
    job.next_version += 1
    job.save(update_fields=["next_version"])
    target = None
    if configuration.auto_publish:
        target = Model.objects.filter(workspace=job.workspace, name=configuration.model_name).first()
    run = Run.objects.create(
        job=job,
        version=version,
        base_model=configuration.base_model,
        method=configuration.method,
        hyperparameters=configuration.hyperparameters,
        split_ratio=0 if configuration.test_version else configuration.split_ratio,
        test_version=configuration.test_version,
        corpus=configuration.corpus,
        corpus_ratio=configuration.corpus_ratio if configuration.corpus else 0,
        base_run=configuration.base_run,
        base_step=configuration.base_step if configuration.base_run else None,
        base_mix=configuration.base_mix if configuration.base_run else 0,
        pool=configuration.resources.pool,
        devices=configuration.resources.devices,
        idle=configuration.resources.idle,
        estimate=estimate(configuration).stored(),
        metadata=configuration.metadata,
        created_by=user,
        created_at=timezone.now(),
        publication=Publication.PENDING if configuration.auto_publish else Publication.OFF,
        publish_name=configuration.model_name if configuration.auto_publish else "",
        publish_as_new=target is None,
        publish_model=target,
    )
    RunSource.objects.bulk_create(
        RunSource(run=run, version=source.version, sampling_rate=source.sampling_rate)
        for source in configuration.sources
    )
    lifecycle.wake_worker(run)
    return run
