"""`/v2/finetuning`: the nine actions of Qianfan's fine-tuning API, as its SDK calls them."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from catalog.api.lookups import base_model
from catalog.api.supported_models import supported_models
from console.api.errors import conflict
from console.api.keys import Caller
from console.api.qianfan import Action, Nothing, page
from console.deletion import NotDeletable
from console.models import Scope
from jobs import deletion, lifecycle
from jobs.api import lookups
from jobs.api.finetuning_answers import describe_job, describe_run, describe_run_fully
from jobs.api.finetuning_bodies import CreateJob, CreateTask, ListJobs, ListTasks, OneJob, OneTask
from jobs.api.finetuning_request import configuration_of, refusal
from jobs.configuration import ConfigurationRefused, create_job, submit
from jobs.models import Pool, RunState


def create_job_action(caller: Caller, body: CreateJob) -> dict[str, str]:
    model = base_model(body.model)
    description = body.description or ""
    try:
        job = create_job(caller.workspace, caller.user, body.name, model, description, body.train_mode)
    except ConfigurationRefused as refused:
        raise refusal(refused.problems) from refused
    return {"jobId": job.uid}


def create_task(caller: Caller, body: CreateTask) -> dict[str, str]:
    job = lookups.job(caller, body.job_id)
    configuration = configuration_of(caller, job, body)
    try:
        run = submit(caller.workspace, caller.user, configuration)
    except ConfigurationRefused as refused:
        raise refusal(refused.problems, configuration.base_model) from refused
    return {"jobId": job.uid, "taskId": run.uid}


def list_jobs(caller: Caller, body: ListJobs) -> dict[str, Any]:
    found = lookups.jobs(caller)
    mode = body.train_mode or body.train_model
    if mode:
        found = lookups.in_mode(found, mode)
    if body.model:
        found = found.filter(model_name=body.model)  # type: ignore[misc]  # an annotation
    jobs, info = page(found, body)
    return {"jobList": [describe_job(job) for job in jobs], "pageInfo": info}


def list_tasks(caller: Caller, body: ListTasks) -> dict[str, Any]:
    job = lookups.job(caller, body.job_id)
    found = lookups.runs(caller).filter(job=job).prefetch_related("checkpoints")
    runs, info = page(found, body)
    return {"taskList": [describe_run(run) for run in runs], "pageInfo": info}


def describe_task(caller: Caller, body: OneTask) -> dict[str, Any]:
    run = lookups.run(caller, body.task_id)
    return describe_run_fully(run, caller.origin + reverse("jobs:run", args=[run.uid]))


def stop_task(caller: Caller, body: OneTask) -> bool:
    """True as soon as the run is stopped or being stopped, by whomever."""
    run = lookups.run(caller, body.task_id)
    if not lifecycle.request_stop(run, caller.user):
        run.refresh_from_db()
        if run.state in (RunState.DONE, RunState.FAILED):
            raise conflict(f"{run.uid} is over already ({run.state}).", "taskId")
    return True


def delete_task(caller: Caller, body: OneTask) -> bool:
    run = lookups.run(caller, body.task_id)
    try:
        deletion.delete_run(run, caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "taskId") from reason
    return True


def delete_job(caller: Caller, body: OneJob) -> bool:
    job = lookups.job(caller, body.job_id)
    try:
        deletion.delete_job(job, caller.user)
    except NotDeletable as reason:
        raise conflict(str(reason), "jobId") from reason
    return True


def support_models(caller: Caller, body: Nothing) -> list[dict[str, Any]]:
    return supported_models(idle=Pool.objects.filter(enabled=True, allows_idle=True).exists())


ACTIONS = {
    "CreateFineTuningJob": Action(create_job_action, CreateJob, Scope.WRITE, creates=True),
    "CreateFineTuningTask": Action(create_task, CreateTask, Scope.WRITE, creates=True),
    "DescribeFineTuningJobs": Action(list_jobs, ListJobs),
    "DescribeFineTuningTasks": Action(list_tasks, ListTasks),
    "DescribeFineTuningTask": Action(describe_task, OneTask),
    "StopFineTuningTask": Action(stop_task, OneTask, Scope.WRITE),
    "DeleteFineTuningTask": Action(delete_task, OneTask, Scope.ADMIN),
    "DeleteFineTuningJob": Action(delete_job, OneJob, Scope.ADMIN),
    "DescribeFineTuningSupportModels": Action(support_models, Nothing),
}
