"""manage.py reencrypt_keys: after SECRET_KEY was changed and the old one put into SECRET_KEY_FALLBACKS."""

from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError

from console.secrets import API_KEYS, CONNECTIONS, HUBS, SERVING, TRACKING, WEBHOOKS, reencrypt

# Model, its encrypted field, what it is encrypted for, what people call it.
SECRETS = (
    ("console.ApiKey", "secret", API_KEYS, "API keys"),
    ("datasets.Connection", "secret_key", CONNECTIONS, "keys of connections"),
    ("catalog.HubAccount", "token", HUBS, "tokens of hub accounts"),
    ("jobs.Tracking", "mlflow_secret", TRACKING, "passwords of tracking servers"),
    ("console.Webhook", "secret", WEBHOOKS, "secrets of webhooks"),
    ("catalog.ServingEndpoint", "api_key", SERVING, "keys of serving endpoints"),
)


class Command(BaseCommand):
    help = "Encrypts the secrets of all API keys and connections with the present SECRET_KEY."

    def handle(self, *args: Any, **options: Any) -> None:
        all_lost = []
        for model, field, purpose, label in SECRETS:
            rows = apps.get_model(model)._default_manager.exclude(**{field: ""})
            done, lost = reencrypt(rows, field, purpose)
            self.stdout.write(f"{done} {label} are encrypted with the present SECRET_KEY.")
            if lost:
                all_lost.append(f"{lost} {label}")
        if all_lost:
            raise CommandError(
                f"{' and '.join(all_lost)} cannot be read: their SECRET_KEY is not in SECRET_KEY_FALLBACKS."
            )
