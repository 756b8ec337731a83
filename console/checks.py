"""Wrong configuration is told at the start, in one line each."""

import os
from email.utils import parseaddr
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ValidationError
from django.core.validators import validate_email


@register()
def directories_are_writable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Run directories and weights must lie where this process may write."""
    problems: list[CheckMessage] = []
    for number, name in enumerate(("RUNS_DIR", "WEIGHTS_DIR"), start=1):
        path: Path = getattr(settings, name)
        existing = next((part for part in (path, *path.parents) if part.exists()), path)
        if not os.access(existing, os.W_OK):
            problems.append(Error(f"{name}: {existing} cannot be written to", id=f"console.E{number:03}"))
    return problems


@register()
def mails_can_be_sent(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """With a mail server there has to be a sender, and an address for the links that others can open."""
    if not settings.MAIL_SERVER:
        return []
    problems: list[CheckMessage] = []
    try:
        validate_email(parseaddr(settings.DEFAULT_FROM_EMAIL)[1])
    except ValidationError:
        hint = "For example: Jingtiao <jingtiao@example.com>"
        problems.append(
            Error("EMAIL_URL needs EMAIL_FROM, the sender's address", hint=hint, id="console.E003")
        )
    if "PUBLIC_URL" not in os.environ and "PUBLIC_URL_FILE" not in os.environ:
        text = f"PUBLIC_URL is not set: links in mails lead to {settings.PUBLIC_URL}"
        problems.append(Warning(text, id="console.W001"))
    return problems
