"""`manage.py up`: the whole console on one machine, what is not configured embedded. Ctrl-C stops all of it."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command

from console import embedded
from console.supervision import Program, console_programs, write_configuration

# Below this a database cannot be trusted to go on writing.
MINIMUM_FREE_BYTES = 500 * 1024**2
START_SECONDS = 60


class Command(BaseCommand):
    help = "Start PostgreSQL, Redis (unless configured), web, workers and beat; stop them with Ctrl-C."
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8000")))
        parser.add_argument("--no-demo", action="store_true", help="make no demo account and no demo weights")

    def handle(self, *args: Any, host: str, port: int, no_demo: bool, **options: Any) -> None:
        check_machine(host, port)
        # For the links that the processes send out (PUBLIC_URL).
        os.environ.update(HOST=host, PORT=str(port))
        postgres_dir = embedded.var_dir() / "postgres"
        own_postgres = "postgres" in embedded.EMBEDDED
        programs: list[Program] = []
        self.stdout.write("Starting …")
        if own_postgres:
            programs.append(embedded.postgres_program(postgres_dir))
        sign_in = prepare(demo=not no_demo)
        if not embedded.configured("REDIS_URL"):
            programs.append(embedded.redis_program(embedded.var_dir() / "redis"))
            os.environ["REDIS_URL"] = (embedded.var_dir() / "redis" / "url").read_text()
        if own_postgres:
            # From here on supervisord owns it, and starts it again should it be killed.
            embedded.stop_postgres(postgres_dir)
        configuration = embedded.var_dir() / "supervisord.conf"
        own_serving = not embedded.configured("SERVING_URL")
        serving_bind = f"127.0.0.1:{embedded.free_port()}"
        if own_serving:
            os.environ["SERVING_URL"] = f"http://{serving_bind}"
        for program in console_programs(host, port, serving_bind):
            if program.name != "serving" or own_serving:
                programs.append(program)
        write_configuration(configuration, programs)
        status = self.supervise(configuration, f"http://{host}:{port}/", sign_in)
        stop_trainers()
        sys.exit(status)

    def supervise(self, configuration: Path, url: str, sign_in: str) -> int:
        """Runs supervisord until it ends or is told to; returns its exit status."""
        supervisord = Path(sys.executable).parent / "supervisord"
        process = subprocess.Popen([str(supervisord), "-c", str(configuration)])

        def stop(number: int, frame: object) -> None:
            process.send_signal(signal.SIGTERM)

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        if wait_until_up(f"{url}healthz", process):
            self.stdout.write(self.style.SUCCESS(f"\n  Jingtiao is running at {url}"))
            self.stdout.write(f"  {sign_in}")
            self.stdout.write(f"  Logs are in {configuration.parent / 'log'}. Ctrl-C stops everything.\n")
        elif process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise CommandError(
                f"the web server did not answer; see its log in {configuration.parent / 'log'}"
            )
        return process.wait()


def check_machine(host: str, port: int) -> None:
    """Raises CommandError with one clear line if the port is taken or the disk is full."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CommandError(
                f"{host}:{port} cannot be used ({error.strerror}). Choose another port: make run PORT=8001"
            ) from error
    settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.VAR_DIR).free
    if free < MINIMUM_FREE_BYTES:
        raise CommandError(f"the disk of {settings.VAR_DIR} is nearly full: {free / 1024**2:.0f} MB free")


def prepare(demo: bool) -> str:
    """Brings database, catalogue and static files up to date; returns how to sign in."""
    call_command("prepare")
    if not demo:
        return "Sign in with an account made by: manage.py createsuperuser"
    call_command("make_demo")
    from console.demo import sign_in_line

    return sign_in_line()


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> bool:
    """True as soon as the page answers; False if supervisord ended or START_SECONDS passed."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310  (our own address)
                return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False


def stop_trainers() -> None:
    """Ends trainers that outlived their worker: those were told to save, and had a minute for it."""
    import psutil

    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if (command := process.info["cmdline"] or [])[1:3] == ["-m", "jobs.training"]
        and any(part.startswith(str(settings.RUNS_DIR)) for part in command[3:])
    ]
    for process in left:
        process.terminate()
    _gone, alive = psutil.wait_procs(left, timeout=30)
    for process in alive:
        process.kill()
