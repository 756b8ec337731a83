"""Loads catalog/data into the database; safe to run at every start. See catalog/loading.py for its rules."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from catalog.data_files import DataFileError
from catalog.loading import InvalidRow, load_data_files


class Command(BaseCommand):
    help = "Loads the catalogue's data files; what operators changed in admin stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--reset",
            action="store_true",
            help="Also overwrite what operators changed (not where weights lie, nor what they disabled).",
        )

    def handle(self, *args: Any, reset: bool, verbosity: int, **options: Any) -> None:
        try:
            report = load_data_files(reset=reset)
        except (DataFileError, InvalidRow) as error:
            raise CommandError(f"The catalogue was not loaded, nothing was changed: {error}") from error
        if verbosity == 0:
            return
        self.stdout.write(
            f"Catalogue: {len(report.created)} rows created, {len(report.updated)} updated, "
            f"{len(report.removed)} removed, {len(report.kept)} changes of operators kept."
        )
        for title, names in (("kept", report.kept), ("no longer in the data files", report.left_over)):
            for name in names:
                self.stdout.write(f"  {title}: {name}")
