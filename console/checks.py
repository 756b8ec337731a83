"""Wrong configuration is told at the start, in one line each."""

import os
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


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
