"""List calls a second of the three APIs, as a ratio to a bare view: `python -m bench.api [SECONDS]`.

gunicorn runs as the product runs it (two processes of eight threads), with all middleware, on a PostgreSQL with 200
jobs; a process apart asks over kept connections, as many at once as there are threads. Server and load share the
machine, as the bare view's calls do: the ratio can be compared between machines, calls a second cannot. Limits of
calls are counted (in Redis), and are set so high that none is reached. Everything lies in a temporary directory.
"""

from __future__ import annotations

import http.client
import multiprocessing
import multiprocessing.connection
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.swap import set_up, tear_down

SECONDS = 5.0
ROUNDS = 3
GOAL = 1000
CONNECTIONS = 16
JOBS = 200
PORT = 8171
HOST = f"127.0.0.1:{PORT}"


@dataclass(frozen=True)
class Ask:
    """A call; `headers` makes those of each connection."""

    method: str
    path: str
    headers: Callable[[], dict[str, str]]
    body: str = ""


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    os.environ |= {"API_READS_A_MINUTE": "100000000", "LOG_LEVEL": "WARNING"}
    with tempfile.TemporaryDirectory(prefix="jingtiao-bench-") as directory:
        set_up(Path(directory))
        asked = requests_of(*make_data())
        server = serve()
        try:
            rates = measure(asked, seconds)
        finally:
            server.terminate()
            server.wait()
        show(rates)
        tear_down()


def make_data() -> tuple[str, str, str]:
    """Jobs with a run each, and a key: access key, secret key, token."""
    from django.contrib.auth import get_user_model

    from catalog.models import BaseModel
    from console.api.keys import issue
    from console.models import Membership, Role, Scope, Workspace
    from jobs.models import Job, Run, RunState

    workspace = Workspace.objects.create(name="bench")
    user = get_user_model().objects.create_user("bench", password="bench")  # noqa: S106
    Membership.objects.create(user=user, workspace=workspace, role=Role.OWNER)
    base_model = BaseModel.objects.get(name="ERNIE-Speed-8K")
    for number in range(JOBS):
        job = Job.objects.create(
            workspace=workspace, name=f"job {number}", model_type="text2text", created_by=user
        )
        Run.objects.create(
            job=job, version=1, base_model=base_model, method="LoRA", state=RunState.DONE, created_by=user
        )
    _key, made = issue(user, workspace, "bench", Scope.READ)
    return made.access_key, made.secret_key, made.token


def requests_of(access_key: str, secret_key: str, token: str) -> dict[str, Ask]:
    # The SDK's own signature.
    from qianfan.resources.auth.iam import iam_sign
    from qianfan.resources.typing import QfRequest

    def signed() -> dict[str, str]:
        request = QfRequest(method="POST", url="/v2/finetuning", query={"Action": "DescribeFineTuningJobs"})
        request.headers = {"Content-Type": "application/json", "Host": HOST}
        iam_sign(access_key, secret_key, request)
        return dict(request.headers)

    def bearer() -> dict[str, str]:
        return {"Authorization": f"Bearer {token}", "Accept-Language": "en"}

    return {
        "bare view": Ask("GET", "/bare/", dict),
        "own API: 20 jobs": Ask("GET", "/api/v1/jobs", bearer),
        "own API: 20 runs": Ask("GET", "/api/v1/runs", bearer),
        "OpenAI: 20 jobs": Ask("GET", "/v1/fine_tuning/jobs", bearer),
        "OpenAI: models": Ask("GET", "/v1/models", bearer),
        "Qianfan: 10 jobs": Ask("POST", "/v2/finetuning?Action=DescribeFineTuningJobs", signed, "{}"),
    }


def serve() -> subprocess.Popen[bytes]:
    """gunicorn as manage.py up starts it, with the bare view among the addresses (bench/wsgi.py)."""
    command = [sys.executable, "-m", "gunicorn", "bench.wsgi", "--bind", HOST]
    command += ["--workers", "2", "--worker-class", "gthread", "--threads", "8", "--log-level", "warning"]
    server = subprocess.Popen(command, cwd=Path(__file__).parent.parent)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection(HOST, timeout=5)
            connection.request("GET", "/bare/")
            if connection.getresponse().status == 200:
                return server
        except OSError:
            time.sleep(0.5)
    raise SystemExit("gunicorn did not answer")


def measure(asked: dict[str, Ask], seconds: float) -> dict[str, list[float]]:
    """Calls a second of each in turn, several rounds: a busy moment of the machine falls on all alike."""
    rates: dict[str, list[float]] = {name: [] for name in asked}
    for ask in asked.values():
        _load(ask, 1.0)  # warm
    for _round in range(ROUNDS):
        for name, ask in asked.items():
            rates[name].append(_load(ask, seconds))
    return rates


def _load(ask: Ask, seconds: float) -> float:
    """Asks from a process apart, for its interpreter is not to share time with this one."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_ask_all, args=(ask, seconds, writer))
    process.start()
    rate, wrong = reader.recv()
    process.join()
    if wrong:
        raise SystemExit(f"{ask.path}: {wrong}")
    return float(rate)


def _ask_all(ask: Ask, seconds: float, writer: multiprocessing.connection.Connection) -> None:
    counts, wrong = [0] * CONNECTIONS, [""] * CONNECTIONS
    until = time.monotonic() + seconds

    def go(number: int) -> None:
        connection = http.client.HTTPConnection(HOST, timeout=30)
        headers = ask.headers()
        while time.monotonic() < until and not wrong[number]:
            connection.request(ask.method, ask.path, body=ask.body or None, headers=headers)
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                wrong[number] = f"{response.status} {text[:300]!r}"
            counts[number] += 1

    threads = [threading.Thread(target=go, args=(number,)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.send((sum(counts) / seconds, next(filter(None, wrong), "")))


def show(rates: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(found) for name, found in rates.items()}
    bare = medians["bare view"]
    print(f"{'':<20}{'calls/s':>10}{'÷ bare':>10}   on {os.cpu_count()} cores, load included; goal {GOAL}")
    for name, rate in medians.items():
        print(f"{name:<20}{rate:>10.0f}{rate / bare:>10.2f}")


if __name__ == "__main__":
    main()
