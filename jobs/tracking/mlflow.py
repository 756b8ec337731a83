"""MLflow: one run there for each run here, through MLflow's own client.

Runs in a process of its own (`manage.py send_to_mlflow`): the library is large, reads from the environment who signs
in, and is to reach no address that the operator does not allow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from console.endpoints import EndpointRefused, allowed_addresses_only, check_endpoint
from console.secrets import TRACKING, decrypt
from jobs.models import Run, RunState
from jobs.tracking import due
from jobs.tracking.models import Target, Tracked, Tracking

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow REST API, "Log Batch": at most 1,000 metrics in a request.
POINTS_PER_REQUEST = 1000
STATUS = {RunState.DONE: "FINISHED", RunState.FAILED: "FAILED", RunState.STOPPED: "KILLED"}
# What finds a run again whose id was never saved, because the process was killed.
TAG = "jingtiao.run"
TIMEOUT_SECONDS = 300


def send_in_process(tracking: Tracking) -> None:
    """Starts the process that sends, if there is something to send, and waits for it."""
    if due.due_runs(tracking, Target.MLFLOW):
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "send_to_mlflow", str(tracking.pk)]
        subprocess.run(command, timeout=TIMEOUT_SECONDS, check=False)


def send(tracking: Tracking) -> None:
    """Sends what is new of every run. What goes wrong with a run stands in its row, and is tried again later."""
    try:
        check_address(tracking.mlflow_uri)
    except (EndpointRefused, ValueError) as refused:
        for run in due.due_runs(tracking, Target.MLFLOW):
            Tracked.objects.update_or_create(run=run, target=Target.MLFLOW, defaults={"error": str(refused)})
        return
    with _signed_in(tracking), allowed_addresses_only():
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=tracking.mlflow_uri)
        for run in due.due_runs(tracking, Target.MLFLOW):
            with transaction.atomic():
                tracked = due.locked(run, Target.MLFLOW)
                if tracked is None:
                    continue
                try:
                    _send(client, tracking, tracked, run)
                except Exception as error:  # MLflow passes on whatever its HTTP library raises
                    tracked.error = _plain(error)
                    tracked.save(update_fields=["error", "reference"])


def check_address(uri: str) -> None:
    """Raises EndpointRefused for an address that is not called. MLflow's may have a path."""
    url = urlsplit(uri)
    check_endpoint(f"{url.scheme}://{url.netloc}")
    if url.query or url.fragment:
        raise EndpointRefused(_("This is no address of a server."))


def _send(client: MlflowClient, tracking: Tracking, tracked: Tracked, run: Run) -> None:
    from mlflow.entities import Metric as Point

    if not tracked.reference:
        tracked.reference = _find(client, tracking, run) or _create(client, tracking, run)
    there = client.get_run(tracked.reference)
    # The server knows what arrived when the process was killed before it could say so here.
    for metric in there.data.to_proto().metrics:
        tracked.sent[metric.key] = max(metric.step, tracked.sent.get(metric.key, -1))
    points = due.new_points(run, tracked.sent)
    now = int(timezone.now().timestamp() * 1000)
    for start in range(0, len(points), POINTS_PER_REQUEST):
        piece = points[start : start + POINTS_PER_REQUEST]
        metrics = [Point(key=point.key, value=point.value, timestamp=now, step=point.step) for point in piece]
        client.log_batch(tracked.reference, metrics=metrics)
    _set_status(client, tracked, run, there.info.status, is_last=len(points) < due.BATCH_POINTS)
    due.note_sent(tracked, run, points)


def _set_status(client: MlflowClient, tracked: Tracked, run: Run, before: str, *, is_last: bool) -> None:
    status = STATUS.get(RunState(run.state), "RUNNING") if is_last else "RUNNING"
    if run.finished_at and status != "RUNNING":
        client.set_terminated(tracked.reference, status, int(run.finished_at.timestamp() * 1000))
    elif before != status:
        client.update_run(tracked.reference, status=status)


def _find(client: MlflowClient, tracking: Tracking, run: Run) -> str:
    experiment = client.get_experiment_by_name(_experiment(tracking))
    if experiment is None:
        return ""
    found = client.search_runs([experiment.experiment_id], f"tags.`{TAG}` = '{run.uid}'", max_results=1)
    return found[0].info.run_id if found else ""


def _create(client: MlflowClient, tracking: Tracking, run: Run) -> str:
    from mlflow.entities import Param

    name = _experiment(tracking)
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    started = int(run.started_at.timestamp() * 1000) if run.started_at else None
    created = client.create_run(experiment_id, started, {TAG: run.uid}, str(run))
    values = {"base_model": run.base_model.name, "method": run.method, **run.hyperparameters}
    params = [Param(key, str(value)) for key, value in values.items()]
    client.log_batch(created.info.run_id, params=params)
    return str(created.info.run_id)


def _experiment(tracking: Tracking) -> str:
    return tracking.mlflow_experiment or tracking.workspace.name


def _plain(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:500] if str(error).strip() else type(error).__name__


@contextmanager
def _signed_in(tracking: Tracking) -> Iterator[None]:
    """MLflow reads from the environment who signs in, and how long it waits."""
    values = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "15", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    secret = decrypt(tracking.mlflow_secret, TRACKING) if tracking.mlflow_secret else ""
    if tracking.mlflow_username:
        values |= {"MLFLOW_TRACKING_USERNAME": tracking.mlflow_username, "MLFLOW_TRACKING_PASSWORD": secret}
    elif secret:
        values |= {"MLFLOW_TRACKING_TOKEN": secret}
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
