"""Deleting a run or a job: rows at once, files afterwards (console/deletion.py).

A run goes only when it is over, when nothing is being published from it, and when no other run was built on it.
Models that were published from it stay: their files are copies. What it was configured to do is kept with the
record of its deletion.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from catalog.models.registry import ModelVersionState
from console.deletion import NotDeletable, record
from console.models import User
from jobs import portable
from jobs.models import Job, Publication, Run, RunState


def obstacle(run: Run, going: Collection[int] = ()) -> str:
    """Why a run cannot be deleted now, or an empty text. `going` are runs (their keys) that go with it."""
    if run.is_active:
        return _("%(run)s is still active. Stop it first.") % {"run": run}
    is_waiting = run.state == RunState.DONE and run.publication == Publication.PENDING
    version = run.model_version
    if is_waiting or (version is not None and version.state == ModelVersionState.CREATING):
        return _("A model is being published from %(run)s. Wait until that is done.") % {"run": run}
    built = run.continued_by.exclude(pk__in=going).select_related("job").first()
    if built is not None:
        return _("%(other)s was built on %(run)s. Delete that one first.") % {"other": built, "run": run}
    return ""


def obstacle_of_job(job: Job) -> str:
    """Why a job cannot be deleted now, or an empty text."""
    runs = list(job.runs.select_related("job", "model_version"))
    going = [run.pk for run in runs]
    return next(filter(None, (obstacle(run, going) for run in runs)), "")


def delete_run(run: Run, user: User) -> None:
    """Deletes a run; raises NotDeletable. One that is gone already is no error."""
    with transaction.atomic():
        locked = _locked(Run.objects.filter(pk=run.pk))
        for found in locked:
            if problem := obstacle(found):
                raise NotDeletable(problem)
            _delete(found, user)


def delete_job(job: Job, user: User) -> None:
    """Deletes a job with all of its runs, or nothing; raises NotDeletable."""
    with transaction.atomic():
        locked = Job.objects.select_for_update().filter(pk=job.pk).first()
        if locked is None:
            return
        # Newest first: a run may be built on an older one of the same job.
        runs = _locked(Run.objects.filter(job=locked).order_by("-pk"))
        if problem := obstacle_of_job(locked):
            raise NotDeletable(problem)
        for run in runs:
            _delete(run, user)
        record(
            locked.workspace,
            user,
            "job",
            locked.uid,
            locked.name,
            data={"type": locked.model_type, "description": locked.description},
        )
        locked.delete()


def _locked(runs: QuerySet[Run]) -> list[Run]:
    runs = runs.select_for_update(of=("self",)).select_related(
        "job__workspace", "base_model", "model_version"
    )
    return list(runs)


def _delete(run: Run, user: User) -> None:
    data = {
        "job": run.job.uid,
        "state": run.state,
        "configuration": portable.to_dict(run),
        "model_version": run.model_version.uid if run.model_version else None,
    }
    record(run.job.workspace, user, "run", run.uid, str(run), data=data, run_directories=[run.uid])
    run.delete()
