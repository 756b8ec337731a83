"""`manage.py make_pool`: the resource pool of this machine, where no pool is set up yet."""

from typing import Any

from django.core.management import BaseCommand

from jobs.pools import make_default_pool


class Command(BaseCommand):
    help = "Make the resource pool of this machine (queue training), unless there is a pool already."

    def handle(self, *args: Any, verbosity: int, **options: Any) -> None:
        pool = make_default_pool()
        if pool is not None and verbosity:
            device = pool.device_name or pool.get_accelerator_display()
            self.stdout.write(f"Resource pool {pool.name}: {pool.slots} × {device}, queue {pool.queue}.")
