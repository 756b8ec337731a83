"""The round that beat starts: everything new to every target that is switched on."""

from __future__ import annotations

import importlib.util
import logging
import subprocess

from django.db.models import Q

from jobs.tracking import mlflow, tensorboard
from jobs.tracking.models import Target, Tracking

logger = logging.getLogger(__name__)

SENDERS = {Target.TENSORBOARD: tensorboard.send, Target.MLFLOW: mlflow.send_in_process}


def is_installed(target: Target) -> bool:
    """Both libraries are optional: requirements-tracking.txt."""
    return importlib.util.find_spec(target.value) is not None


def send_all() -> None:
    """Sends what is new; a target that fails does not keep the others waiting."""
    wanted = Tracking.objects.filter(Q(tensorboard=True) | ~Q(mlflow_uri="")).select_related("workspace")
    for tracking in wanted:
        for target in filter(is_installed, tracking.targets):
            try:
                SENDERS[target](tracking)
            except (OSError, subprocess.SubprocessError):
                logger.exception("metrics of %s could not be sent to %s", tracking.workspace, target.label)
