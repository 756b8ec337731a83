"""`manage.py carry_out_push ID`: the process in which a version is copied to a hub (catalog/hub.py)."""

import os
from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from catalog import pushing


class Command(BaseCommand):
    help = "Copies a published version to where it is wanted; started by the worker."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("push", type=int, help="number of the copy")

    def handle(self, *args: object, push: int, **options: object) -> None:
        # Xet's own client would go past the addresses that are allowed.
        os.environ |= {
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        pushing.carry_out(push)
