"""`manage.py make_demo`: the demo account, shared data, and tiny weights for the rows that a newcomer tries first."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management import BaseCommand, CommandError, call_command

from console import demo as account
from jobs import demo


class Command(BaseCommand):
    help = "Make the demo account (on an empty installation) and tiny demo weights; bind them where nothing is bound."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--architecture",
            action="append",
            help=f"architecture to make weights for, repeatable (default: {', '.join(demo.ARCHITECTURES)})",
        )

    def handle(self, *args: Any, architecture: list[str] | None, **options: Any) -> None:
        account.make_account()
        call_command("make_shared", stdout=self.stdout)
        for name in architecture or demo.ARCHITECTURES:
            try:
                directory = demo.make_weights(name)
            except demo.DemoWeightsError as error:
                raise CommandError(f"the demo weights of {name} could not be made: {error}") from error
            if bound := demo.bind(name, directory):
                self.stdout.write(f"Tiny {name} weights in {directory} stand behind {bound} base models.")
