"""manage.py reencrypt_keys: after SECRET_KEY was changed and the old one put into SECRET_KEY_FALLBACKS."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from console.api.keys import reencrypt


class Command(BaseCommand):
    help = "Encrypts the secrets of all API keys with the present SECRET_KEY."

    def handle(self, *args: Any, **options: Any) -> None:
        done, lost = reencrypt()
        self.stdout.write(f"{done} keys are encrypted with the present SECRET_KEY.")
        if lost:
            raise CommandError(
                f"{lost} keys cannot be read: their SECRET_KEY is not in SECRET_KEY_FALLBACKS."
            )
