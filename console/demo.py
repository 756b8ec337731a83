"""The demo account of the embedded default: made once, with a password of its own, for this machine only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.conf import settings
from django.db import transaction

from console.models import Membership, Role, User, Workspace

USERNAME = "demo"


def make_account() -> None:
    """Creates user, workspace and password on an empty installation; does nothing where people exist."""
    with transaction.atomic():
        if User.objects.exists():
            return
        password = secrets.token_urlsafe(9)
        user = User.objects.create_superuser(USERNAME, password=password)
        workspace = Workspace.objects.create(name="Demo")
        Membership.objects.create(user=user, workspace=workspace, role=Role.OWNER)
        descriptor = os.open(_password_file(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(password)


def sign_in_line() -> str:
    """How to sign in, for the terminal."""
    try:
        password = _password_file().read_text()
    except FileNotFoundError:
        return "Sign in with your account."
    return f"Sign in as {USERNAME} with the password {password}"


def _password_file() -> Path:
    return settings.VAR_DIR / "demo-password"
