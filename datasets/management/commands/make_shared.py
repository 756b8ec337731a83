"""`manage.py make_shared`: the general corpus and the preset datasets that come with the console."""

from __future__ import annotations

from typing import Any

from django.core.management import BaseCommand, CommandError

from datasets.shared import SharedDataError, make_shared


class Command(BaseCommand):
    help = "Offer the bundled general corpus and preset datasets to every workspace; repeatable."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = make_shared()
        except SharedDataError as error:
            raise CommandError(str(error)) from error
        for shared in made if options["verbosity"] else ():
            self.stdout.write(f"{shared.name_en}: {shared.version.row_count} rows for every workspace.")
