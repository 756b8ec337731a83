"""`fine_tuning.jobs.create` as a `Configuration`; whether it may start, jobs.configuration decides.

What OpenAI's API has no word for may be given beside it (the client's `extra_body`): `training_method` chooses among
the methods of the base model (LoRA where it is offered, unless told otherwise), and `hyperparameters` also takes the
console's own keys, such as learningRate. The methods `supervised` and `dpo` are modes of training here.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from msgspec import Struct, field

from catalog import queries
from catalog.api.lookups import base_model
from catalog.hyperparameters import clean, unknown_keys
from catalog.models import BaseModel, Model, Offer
from console.api.errors import Refused, conflict, invalid
from console.api.keys import Caller
from console.models import Workspace, make_uid
from datasets import publishing
from datasets.api import files
from datasets.mixing import Source
from datasets.models import DatasetVersion, VersionState
from jobs.configuration import Configuration, Problems
from jobs.hyperparameter_fields import PREFIX
from jobs.models import NAME_LENGTH, Job, Pool, Publication, Run
from jobs.opening import free_name
from jobs.resources import Resources, offered_counts
from jobs.training.parameters import INT_MAX
from jobs.training.trainers import DPO, LORA, SFT, method_of, mode_of, scale_of

# OpenAI's names of hyperparameters, for ours.
NAMES = {"epoch": "n_epochs", "batchSize": "batch_size", "learningRate": "learning_rate_multiplier"}
DPO_NAMES = NAMES | {"dpoBeta": "beta"}
# OpenAI's methods, as our modes of training.
MODES = {"supervised": SFT, "dpo": DPO}
_FIELDS = {
    "name": "suffix",
    "model_name": "suffix",
    "base_model": "model",
    "method": "training_method",
    "sources": "training_file",
    "test_source": "validation_file",
}
MOST_METADATA, METADATA_KEY, METADATA_VALUE = 16, 64, 512


class Settings(Struct):
    hyperparameters: dict[str, Any] | None = None


class Method(Struct):
    type: str
    supervised: Settings | None = None
    dpo: Settings | None = None

    @property
    def hyperparameters(self) -> dict[str, Any]:
        settings: Settings | None = getattr(self, self.type)
        return (settings.hyperparameters if settings else None) or {}


class CreateJob(Struct):
    model: str
    training_file: str
    validation_file: str | None = None
    hyperparameters: dict[str, Any] | None = None
    method: Method | None = None
    suffix: str | None = None
    seed: int | None = None
    metadata: dict[str, str] | None = None
    integrations: list[Any] | None = field(default=None)
    training_method: str | None = None


def refusal(problems: Problems) -> Refused:
    """All problems of a configuration in one answer, under the names of this API's fields."""
    named = [(_field(name), message) for name, texts in problems.items() for message in texts]
    return invalid(" ".join(f"{field}: {message}" for field, message in named), named[0][0])


def _field(name: str) -> str:
    if name.startswith(PREFIX):
        key = name.removeprefix(PREFIX)
        return "seed" if key == "seed" else f"hyperparameters.{DPO_NAMES.get(key, key)}"
    return "training_file" if name.startswith("rate-") else _FIELDS.get(name, name)


def configuration_of(caller: Caller, body: CreateJob) -> Configuration:
    """The job and run that are asked for. Raises Refused for what names nothing here."""
    if body.method and body.method.type not in MODES:
        raise invalid(f"The methods that are offered here are {' and '.join(MODES)}.", "method.type")
    if body.integrations:
        raise invalid("Integrations are not offered here.", "integrations")
    model = base_model(body.model)
    offer = _offer(model, body)
    errors = Problems()
    values = _hyperparameters(body, offer, errors) if offer else {}
    name, model_name = _names(caller.workspace, body.suffix)
    pool = Pool.objects.filter(enabled=True).first()
    configuration = Configuration(
        name=name,
        model_type=model.family.model_type,
        base_model=model,
        method=offer.method if offer else body.training_method or "",
        hyperparameters=values,
        sources=[Source(_usable(files.find(caller, body.training_file, "training_file", own=False)))],
        # Without a validation file nothing is held out.
        split_ratio=0.0,
        resources=Resources(pool, offered_counts(pool)[0]),
        auto_publish=True,
        model_name=model_name,
        metadata=_metadata(body.metadata),
        errors=errors,
    )
    if body.validation_file:
        validation = files.find(caller, body.validation_file, "validation_file", own=False)
        configuration.test_version = _usable(validation, "validation_file")
    return configuration


def _offer(model: BaseModel, body: CreateJob) -> Offer | None:
    """The offer of the method that is asked for, LoRA if it is not said; None for a training_method that there is
    not. Raises Refused where the model is not trained in that mode."""
    offers = queries.offers(model)
    if body.method is None and body.training_method is not None:
        return next((offer for offer in offers if offer.method == body.training_method), None)
    kind = body.method.type if body.method else "supervised"
    offers = [offer for offer in offers if mode_of(offer.method) == MODES[kind]]
    if not offers:
        raise invalid(f"{model.name} is not offered with the method {kind}.", "method.type")
    if body.training_method is not None:
        wanted = (body.training_method, method_of(MODES[kind], body.training_method))
        return next((offer for offer in offers if offer.method in wanted), None)
    return next((offer for offer in offers if scale_of(offer.method) == LORA), offers[0])


def _usable(version: DatasetVersion, param: str = "training_file") -> DatasetVersion:
    """A version that can be trained on: a file that was read without errors is published by being used."""
    if version.state == VersionState.IMPORTING:
        raise conflict("The file is still being read. Wait until its status is processed.", param)
    if version.state == VersionState.FAILED:
        why = files.describe(version).get("status_details", "")
        raise invalid(_("The file has errors: %(why)s") % {"why": why}, param)
    if version.state == VersionState.DRAFT:
        try:
            publishing.publish(version)
        except publishing.NotAllowed as reason:
            raise invalid(str(reason), param) from reason
        version.refresh_from_db()
    return version


def _hyperparameters(body: CreateJob, offer: Offer, errors: Problems) -> dict[str, Any]:
    """Cleaned values. A multiplier of the learning rate multiplies the offer's default."""
    given = dict(body.hyperparameters or {})
    if body.method:
        given |= body.method.hyperparameters
    ours = {name: key for key, name in DPO_NAMES.items()}
    raw = {ours.get(name, name): value for name, value in given.items() if value not in ("auto", None)}
    offered = list(offer.hyperparameters.all())
    multiplier = given.get("learning_rate_multiplier")
    if multiplier not in ("auto", None):
        default = next((item.default for item in offered if item.key == "learningRate"), None)
        if isinstance(multiplier, bool) or not isinstance(multiplier, int | float):
            errors[f"{PREFIX}learningRate"] = [_("Enter a number, for example 0.01 or 3e-5.")]
            del raw["learningRate"]
        elif isinstance(default, int | float):
            raw["learningRate"] = default * multiplier
    if body.seed is not None and any(item.key == "seed" for item in offered):
        raw["seed"] = body.seed
    values, complaints = clean(offered, raw)
    for key in unknown_keys(offered, raw):
        complaints[key] = _("%(key)s is not a hyperparameter of this model and method.") % {
            "key": DPO_NAMES.get(key, key)
        }
    for key, message in complaints.items():
        errors.setdefault(PREFIX + key, [message])
    if body.seed is not None and "seed" not in raw:
        if not 0 <= body.seed <= INT_MAX:
            raise invalid(f"seed must lie between 0 and {INT_MAX}.", "seed")
        # The trainer takes one also where the offer leaves it out.
        values["seed"] = body.seed
    return values


def _names(workspace: Workspace, suffix: str | None) -> tuple[str, str]:
    """Names of the job and of the model that it publishes, both free."""
    if not suffix:
        name = make_uid("ft")
        return name, name
    job = suffix[: NAME_LENGTH[1]]
    if Job.objects.filter(workspace=workspace, name=job).exists():
        job = free_name(workspace, job)
    # A model that exists gets its next version. A name that a run still to end will take is not free.
    pending = Run.objects.filter(
        job__workspace=workspace, publication=Publication.PENDING, publish_as_new=True
    ).values_list("publish_name", flat=True)
    taken, name, number = set(pending), suffix, 1
    while name in taken and not Model.objects.filter(workspace=workspace, name=name).exists():
        number += 1
        name = f"{suffix}-{number}"
    return job, name


def _metadata(given: dict[str, str] | None) -> dict[str, str]:
    given = given or {}
    too_long = [k for k, v in given.items() if len(k) > METADATA_KEY or len(v) > METADATA_VALUE]
    if len(given) > MOST_METADATA or too_long:
        message = f"At most {MOST_METADATA} pairs, keys of {METADATA_KEY} and values of {METADATA_VALUE} characters."
        raise invalid(message, "metadata")
    return given
