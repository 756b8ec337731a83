"""manage.py prepare: brings everything outside the code up to date; repeatable, run before each start."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Migrates the database, loads the catalogue and the bundled data, collects static files."
    # It is what makes the checks of the others pass.
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        for old in settings.METRICS_DIR.glob("*.db"):
            old.unlink()  # request times of processes that are gone
        call_command("migrate", verbosity=0)
        call_command("load_catalog", verbosity=0)
        call_command("make_pool", verbosity=0)
        call_command("make_shared", verbosity=0)
        call_command("collectstatic", interactive=False, verbosity=0)
