"""manage.py serve_models: the program that loads models and answers for the pages and the API (catalog/serving_app)."""

import argparse
import os
import sys
from typing import Any

from django.core.management.base import BaseCommand

from console.supervision import serving_arguments


class Command(BaseCommand):
    help = "Load models and answer with them; the web processes find it by SERVING_URL."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--bind", default="127.0.0.1:8100", help="address and port, for example 0.0.0.0:8100"
        )

    def handle(self, *args: Any, bind: str, **options: Any) -> None:
        os.execv(sys.executable, [sys.executable, *serving_arguments(bind)])  # noqa: S606
