"""A run's configuration as the own API takes it: the JSON that the wizard exports and takes in (jobs/portable.py),
read and judged by the wizard's own form."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from django.utils.translation import gettext as _
from pydantic import BaseModel, ConfigDict, Field

from catalog.hyperparameters import unknown_keys
from catalog.models import ModelType
from console.models import User, Workspace
from console.rest.errors import FieldError, Rejected
from jobs import portable
from jobs.configuration import ConfigurationRefused, Problems, submit
from jobs.forms import RunForm
from jobs.hyperparameter_fields import PREFIX
from jobs.models import Job, Run

# What portable takes out where it names nothing: the form has better words for it.
_REFERENCES = ("base_run", "corpus", "pool", "test_source", "incremental", "with_corpus", "idle")
# Fields of the form and of jobs.configuration, as the JSON calls them.
_PATHS = {"source": "sources", "corpus_ratio": "corpus_parts", "family": "base_model", "__all__": ""}


class SourceIn(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: str = Field(description="A published dataset version: ds-…")
    sampling_rate: float = Field(1, description="0.01 to 10", allow_inf_nan=False)
    name: str = Field("", description="For people; not read")


class ConfigurationIn(BaseModel):
    """What is left out has the default that the wizard shows."""

    model_config = ConfigDict(extra="forbid", strict=True, use_enum_values=True)

    schema_: Literal[1] = Field(1, alias="schema")
    name: str = Field("", description="Of a new job; 2 to 50 characters")
    type: str = Field("", description=f"Of a new job: {', '.join(ModelType.values)}")
    description: str = ""
    base_model: str = Field(description="GET /base-models lists them")
    method: str = Field(description="FullFineTuning, LoRA, …: what the base model offers")
    hyperparameters: dict[str, int | float | str | bool | list[str]] = Field(
        default_factory=dict, description="GET /base-models/{name} says which, with their limits"
    )
    sources: list[SourceIn] = Field(default_factory=list, max_length=1000)
    split_ratio: float | None = Field(None, description="Percent that is held out", allow_inf_nan=False)
    test_source: str = Field("", description="A version to test on, instead of a share held out")
    incremental: bool = False
    base_run: str = Field("", description="task-… to start from")
    base_step: str = Field("", description="“result”, or the step of a checkpoint")
    base_mix: float | None = Field(None, description="Percent of the base run's data", allow_inf_nan=False)
    with_corpus: bool = False
    corpus: str = Field("", description="GET /corpora lists them; empty for the first")
    corpus_parts: float | None = Field(None, description="The n of corpus : own = 1 : n", allow_inf_nan=False)
    pool: str = Field("", description="GET /pools lists them; empty for the first")
    devices: int | None = None
    idle: bool = False
    auto_publish: bool = False
    model_name: str = ""


def form_of(given: ConfigurationIn, workspace: Workspace, job: Job | None) -> RunForm:
    """The wizard's form as though this had been typed and sent. Raises Rejected for what cannot be read."""
    data = given.model_dump(exclude_unset=True, exclude_none=True, by_alias=True) | {"schema": 1}
    try:
        typed = portable.from_dict(data, workspace).typed
    except portable.Unreadable as error:
        fields = [_read_problem(problem) for problem in error.problems]
        raise Rejected(422, " ".join(error.problems), fields) from error
    for key in _REFERENCES:
        if value := data.get(key):
            typed[key] = "on" if value is True else value.replace("\0", "")
    typed.setlist("source", [source.version.replace("\0", "") for source in given.sources])
    form = RunForm(workspace, job, typed, submitted=True)
    form.is_valid()
    return form


def _read_problem(problem: str) -> FieldError:
    """portable says "place: what is wrong"."""
    found = re.match(r"([\w.\[\]]+): (.+)", problem, re.DOTALL)
    path, message = found.groups() if found else ("", problem)
    return FieldError(path=path, code="invalid", message=message)


def complaints(form: RunForm, given: ConfigurationIn) -> list[FieldError]:
    """Everything that keeps the run from starting: what the wizard would say, and what it would not be asked."""
    places = {source.version: number for number, source in enumerate(given.sources)}
    found = _field_errors({name: list(map(str, errors)) for name, errors in form.errors.items()}, places)
    found += [
        FieldError(
            path=f"hyperparameters.{key}",
            code="unknown_field",
            message=_("%(key)s is not a hyperparameter of this model and method.") % {"key": key},
        )
        for key in unknown_keys(form.offered, given.hyperparameters)
    ]
    twice = Counter(source.version for source in given.sources)
    found += [
        FieldError(path="sources", code="invalid", message=_("%(uid)s is named twice.") % {"uid": uid})
        for uid, count in twice.items()
        if count > 1
    ]
    return found


def _field_errors(problems: Problems, places: dict[str, int]) -> list[FieldError]:
    return [
        FieldError(path=_path(name, places), code="invalid", message=message)
        for name, messages in problems.items()
        for message in messages
    ]


def _path(name: str, places: dict[str, int]) -> str:
    if name.startswith(PREFIX):
        return f"hyperparameters.{name.removeprefix(PREFIX)}"
    if name.startswith("rate-"):
        return f"sources[{places.get(name.removeprefix('rate-'), 0)}].sampling_rate"
    return _PATHS.get(name, name)


def start(given: ConfigurationIn, workspace: Workspace, user: User, job: Job | None) -> Run:
    """Creates the run, and its job where there is none yet. Raises Rejected."""
    form = form_of(given, workspace, job)
    problems = complaints(form, given)
    if not problems:
        try:
            return submit(workspace, user, form.configuration)
        except ConfigurationRefused as refused:  # something changed since the check, such as a name taken
            problems = _field_errors(refused.problems, {})
    text = " ".join(f"{item.path}: {item.message}" if item.path else item.message for item in problems)
    raise Rejected(422, text, problems)


def repeat(run: Run, user: User) -> Run:
    """A further run of the same job, configured as this one. Raises Rejected where it may not start any more."""
    given = ConfigurationIn.model_validate(portable.to_dict(run))
    return start(given, run.job.workspace, user, run.job)
