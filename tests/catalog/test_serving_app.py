"""The program that serves models starts by itself, not only where the console has been imported before."""

import subprocess
import sys

import pytest
from django.conf import settings

from tests.processes import environment


@pytest.mark.services
@pytest.mark.django_db
def test_gunicorn_finds_the_program():
    command = [sys.executable, "-m", "gunicorn", "--check-config", "catalog.serving_app:application"]
    checked = subprocess.run(
        command, cwd=settings.BASE_DIR, env=environment(), capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
