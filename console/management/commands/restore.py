"""manage.py restore FILE: a backup into a new, empty console."""

import argparse
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from console.backup import BackupError, restore_backup


class Command(BaseCommand):
    help = "Brings a backup into an empty database and an empty storage."
    # The database has no tables yet.
    requires_migrations_checks = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        try:
            manifest = restore_backup(file)
        except BackupError as error:
            raise CommandError(str(error)) from error
        # A backup of an earlier version is brought up to date.
        call_command("migrate", verbosity=0)
        self.stdout.write(f"Restored as of {manifest['made_at']}.")
