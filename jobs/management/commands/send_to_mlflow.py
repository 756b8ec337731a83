"""`manage.py send_to_mlflow ID`: the process in which MLflow's client runs (jobs/tracking/mlflow.py)."""

from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from jobs.tracking import mlflow
from jobs.tracking.models import Tracking


class Command(BaseCommand):
    help = "Sends a workspace's new metrics to its MLflow server; started by the worker."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tracking", type=int, help="number of the workspace's settings")

    def handle(self, *args: object, tracking: int, **options: object) -> None:
        found = (
            Tracking.objects.select_related("workspace").exclude(mlflow_uri="").filter(pk=tracking).first()
        )
        if found is not None:
            mlflow.send(found)
