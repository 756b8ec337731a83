"""`manage.py up`: everything starts, a killed process comes back, Ctrl-C leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress

import psutil
import pytest

from console.embedded import free_port
from tests.processes import ROOT, wait_for

pytestmark = pytest.mark.services
KILLED = ("gunicorn", "postgres", "valkey")


@pytest.fixture
def console(tmp_path_factory):
    """A console of its own with embedded services: (address, process, directory)."""
    var = tmp_path_factory.mktemp("var")
    services = ("DATABASE_URL", "REDIS_URL", "STORAGE_URL", "TEST_VAR_DIR", "DJANGO_SETTINGS_MODULE")
    environment = {name: value for name, value in os.environ.items() if name not in services}
    port = free_port()
    with (var / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up", "--no-demo", "--port", str(port)],
            cwd=ROOT,
            env={**environment, "VAR_DIR": str(var)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield f"http://127.0.0.1:{port}", process, var
    for left in [*tree(process), process]:
        left.kill()
    process.wait()


def tree(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Everything that the console runs: supervisord, PostgreSQL, Valkey, web, workers, beat."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def commands(process: subprocess.Popen[bytes]) -> list[tuple[psutil.Process, str]]:
    """Every program with the start of its command line; those that end while they are listed are left out."""
    found = []
    for item in tree(process):
        with suppress(psutil.Error):
            found.append((item, " ".join(item.cmdline()[:4])))
    return found


def running(process: subprocess.Popen[bytes]) -> set[str]:
    """Which of the programs in KILLED run at the moment."""
    return {name for name in KILLED if any(name in command for _item, command in commands(process))}


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/login/", timeout=5) as response:  # noqa: S310  (our own)
            return response.status == 200
    except OSError:
        return False


def test_it_starts_heals_and_leaves_nothing_behind(console):
    address, process, var = console
    wait_for(lambda: "Ctrl-C stops everything" in (var / "up.log").read_text(), 120)
    assert answers(address)

    for name in KILLED:
        victim = next(item for item, command in commands(process) if name in command)
        victim.kill()
    # Web workers that lost their master still answer for a moment: what was killed must be there again.
    wait_for(lambda: running(process) >= set(KILLED) and answers(address), 150)

    everything = tree(process)
    assert len(everything) > 6
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert [item for item in everything if item.is_running()] == []


def test_a_port_in_use_is_one_clear_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        second = subprocess.run(
            [sys.executable, "manage.py", "up", "--port", str(taken.getsockname()[1])],
            cwd=ROOT,
            env={**os.environ, "VAR_DIR": str(tmp_path / "other")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "Address already in use" in second.stderr
    assert "PORT=8001" in second.stderr
