"""Runs that exist, as the form of a new one needs them: what they lock, and what they fill in."""

from __future__ import annotations

from django.http import QueryDict

from catalog.values import format_number
from jobs.corpus_fields import typed_corpus
from jobs.hyperparameter_fields import PREFIX, as_text
from jobs.incremental_fields import typed_base
from jobs.models import ACTIVE_STATES, Job, Publication, Run
from jobs.resources import typed_resources


def active_run(job: Job | None) -> Run | None:
    """The newest run of the job that is not over: it keeps the job's family of base models fixed."""
    if job is None:
        return None
    return job.runs.filter(state__in=ACTIVE_STATES).select_related("base_model__family").first()


def latest_run(job: Job | None) -> Run | None:
    """The run that the next one of the job starts from."""
    related = ("base_model", "test_version", "base_run", "corpus__version", "pool")
    return job.runs.select_related(*related).order_by("-version").first() if job else None


def typed_from(run: Run) -> QueryDict:
    """A run as somebody would have typed it: what the form for the next one starts from."""
    typed = QueryDict(mutable=True)
    typed["base_model"] = run.base_model.name
    typed["method"] = run.method
    for key, value in run.hyperparameters.items():
        text = as_text(value)
        typed.setlist(PREFIX + key, text if isinstance(text, list) else [text])
    for source in run.sources.select_related("version"):
        typed.appendlist("source", source.version.uid)
        typed[f"rate-{source.version.uid}"] = format_number(source.sampling_rate)
    if run.test_version:
        typed["test_source"] = run.test_version.uid
    else:
        typed["split_ratio"] = format_number(run.split_ratio)
    for name, value in (typed_base(run) | typed_corpus(run)).items():
        typed[name] = value
    typed.update(typed_resources(run))
    if run.publication != Publication.OFF:
        typed["auto_publish"] = "on"
        typed["model_name"] = run.publish_name
    return typed
