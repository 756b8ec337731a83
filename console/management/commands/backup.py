"""manage.py backup FILE: database, files and secret key of this console in one archive."""

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.template.defaultfilters import filesizeformat

from console.backup import BackupError, write_backup


class Command(BaseCommand):
    help = "Writes database, datasets and published models into a .tar file; the console may go on working."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--runs", action="store_true", help="also run directories, with all checkpoints")

    def handle(self, *args: Any, file: Path, runs: bool, **options: Any) -> None:
        if file.exists():
            raise CommandError(f"{file} exists already.")
        try:
            summary = write_backup(file.resolve(), runs)
        except BackupError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{file}: the database and {summary.files} files, {filesizeformat(summary.size)}.")
        if not summary.has_storage:
            self.stdout.write("The files lie in object storage and are not in it: copy the bucket as well.")
        if summary.has_secret_key:
            self.stdout.write("It holds the secret key: keep it where nobody else can read it.")
        else:
            self.stdout.write("SECRET_KEY is not in it: without the same key, stored secrets cannot be read.")
