"""Many people watch one run that trains: `python -m bench.viewers [VIEWERS] [SECONDS]`.

gunicorn runs as the product runs it (two processes of eight threads) on a PostgreSQL. Each viewer is a person of their
own with the page of the run open: as its scripts do, it asks every 2 s whether there is more than it has seen, and if
so for the new points of the curves as well. First the run stands between two steps, then it moves as under a trainer (a
step with its metrics every half second, so that every answer brings news). Then viewers ask as often for answers in
full, as pages without a memory would: progress with all parts, curves from the beginning. They are fewer, for two cores
would not keep up with all. Last comes a bare view. "CPU ms" is what the web processes compute for one look of one page:
ratios can be compared between machines, milliseconds cannot. The viewers share the machine with the server.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import multiprocessing.connection
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.api import HOST, serve
from bench.swap import set_up, tear_down

VIEWERS, SECONDS = 200, 20.0
POLL_SECONDS = 2.0
STEP_SECONDS = 0.5
STEPS_BEFORE = 2000
# Whether the run moves meanwhile, and the share of the viewers that ask.
KINDS = {"nothing new": (False, 1.0), "news": (True, 1.0), "in full": (True, 0.1), "bare view": (True, 1.0)}


def main() -> None:
    viewers = int(sys.argv[1]) if len(sys.argv) > 1 else VIEWERS
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS
    os.environ["LOG_LEVEL"] = "WARNING"
    with tempfile.TemporaryDirectory(prefix="jingtiao-bench-") as directory:
        set_up(Path(directory))
        run, cookies = make_data(viewers)
        server = serve()
        moving, ended = threading.Event(), threading.Event()
        trainer = threading.Thread(target=train, args=(run, moving, ended))
        trainer.start()
        found = {}
        try:
            for kind, (moves, share) in KINDS.items():
                (moving.set if moves else moving.clear)()
                asking = cookies[: max(1, int(share * viewers))]
                found[kind] = measure(server, kind, run.uid, asking, seconds)
        finally:
            ended.set()
            trainer.join()
            server.terminate()
            server.wait()
        show(found, viewers, seconds)
        tear_down()


def make_data(viewers: int) -> tuple[Any, list[str]]:
    """A run on its way, and the session cookie of each viewer."""
    from django.test import Client
    from django.utils import timezone

    from catalog.models import BaseModel
    from console.models import Membership, Role, User, Workspace
    from jobs.models import Checkpoint, Job, Metric, Run, RunState

    workspace = Workspace.objects.create(name="bench")
    users = User.objects.bulk_create(
        User(username=f"viewer {number}", language="en") for number in range(viewers)
    )
    Membership.objects.bulk_create(
        Membership(user=user, workspace=workspace, role=Role.VIEWER) for user in users
    )
    job = Job.objects.create(workspace=workspace, name="watched", model_type="text2text")
    base_model = BaseModel.objects.get(name="ERNIE-Speed-8K")
    now = timezone.now()
    run = Run.objects.create(
        job=job,
        version=1,
        base_model=base_model,
        method="LoRA",
        state=RunState.RUNNING,
        started_at=now,
        claimed_at=now,
        attempt=1,
        phase="training",
        step=STEPS_BEFORE,
        total_steps=100_000,
    )
    for step in range(1, STEPS_BEFORE + 1):
        Metric.objects.bulk_create(points_of(run, step))
    for step in range(0, STEPS_BEFORE, 400):
        Checkpoint.objects.create(run=run, step=step, path="c", size=10**6, created_at=now)
    cookies = []
    for user in users:
        client = Client()
        client.force_login(user)
        cookies.append(client.cookies["sessionid"].value)
    return run, cookies


def points_of(run: Any, step: int) -> list[Any]:
    from jobs.models import Metric

    values = {"loss": 5 / step**0.5, "learning_rate": 1e-4, "grad_norm": 1.0, "tokens_per_second": 1234.5}
    return [Metric(run=run, key=key, step=step, value=value) for key, value in values.items()]


def train(run: Any, moving: threading.Event, ended: threading.Event) -> None:
    """What a follower stores of a trainer that takes STEP_SECONDS for a step, while it is `moving`."""
    from django.db import connection

    from jobs.models import Metric, Run

    step, offset = STEPS_BEFORE, 1_000_000
    while not ended.wait(STEP_SECONDS):
        if not moving.is_set():
            continue
        step, offset = step + 1, offset + 500
        Metric.objects.bulk_create(points_of(run, step))
        Run.objects.filter(pk=run.pk).update(
            step=step, events_offset=offset, epoch=step / 1000, eta_seconds=600
        )
    connection.close()


@dataclass
class Measured:
    """Looks of pages; seconds that each answer took, bytes, how many brought nothing new; CPU seconds of the web
    processes, for `seconds` by the clock."""

    looks: int = 0
    latencies: list[float] = field(default_factory=list)
    size: int = 0
    empty: int = 0
    cpu: float = 0.0
    seconds: float = 0.0


def measure(
    server: subprocess.Popen[bytes], kind: str, uid: str, cookies: list[str], seconds: float
) -> Measured:
    """Lets all viewers ask for that long, in a process apart."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_watch, args=(kind, uid, cookies, seconds, writer)
    )
    process.start()
    reader.recv()  # the pages are open
    before, began = web_cpu(server), time.monotonic()
    found: Measured = reader.recv()
    found.cpu, found.seconds = web_cpu(server) - before, time.monotonic() - began
    process.join()
    return found


def web_cpu(server: subprocess.Popen[bytes]) -> float:
    """CPU seconds of gunicorn and its workers so far."""
    master = psutil.Process(server.pid)
    return sum(sum(process.cpu_times()[:2]) for process in (master, *master.children()))


def _watch(
    kind: str, uid: str, cookies: list[str], seconds: float, writer: multiprocessing.connection.Connection
) -> None:
    asyncio.run(_watch_all(kind, uid, cookies, seconds, writer))


async def _watch_all(
    kind: str, uid: str, cookies: list[str], seconds: float, writer: multiprocessing.connection.Connection
) -> None:
    found = Measured()
    opened = [asyncio.Event() for _cookie in cookies]
    start = asyncio.Event()
    tasks = [
        asyncio.create_task(_viewer(kind, uid, cookie, seconds, at / len(cookies), opened[at], start, found))
        for at, cookie in enumerate(cookies)
    ]
    for event in opened:
        await event.wait()
    writer.send("open")
    start.set()
    await asyncio.gather(*tasks)
    writer.send(found)


async def _viewer(
    kind: str,
    uid: str,
    cookie: str,
    seconds: float,
    share: float,
    opened: asyncio.Event,
    start: asyncio.Event,
    found: Measured,
) -> None:
    """One open page: looks at its own moment of every POLL_SECONDS."""
    address, seen, cursor = f"/sft/runs/{uid}/progress/", "", 0
    metrics = f"/sft/runs/{uid}/metrics/"
    remembers = kind in ("nothing new", "news")
    if remembers:
        await asyncio.sleep(share * 5 * POLL_SECONDS)  # two processes cannot open all of them at once
        _status, text = await _get(f"/sft/runs/{uid}/", cookie)
        address, seen = _next_poll(text, address, seen)
        _status, text = await _get(metrics, cookie)
        cursor = json.loads(text)["cursor"]
    opened.set()
    await start.wait()
    begun = time.monotonic() + share * POLL_SECONDS
    for number in range(int(seconds / POLL_SECONDS)):
        await asyncio.sleep(max(0.0, begun + number * POLL_SECONDS - time.monotonic()))
        found.looks += 1
        if kind == "bare view":
            await _timed(found, "/bare/", cookie)
            continue
        status, text = await _timed(found, address, cookie, {"HX-Request": "true", "X-Seen": seen})
        if status == 204:
            continue
        after = f"?after={cursor}" if cursor else ""
        _status, points = await _timed(found, metrics + after, cookie)
        if remembers:
            address, seen = _next_poll(text, address, seen)
            cursor = json.loads(points)["cursor"]


def _next_poll(text: str, address: str, seen: str) -> tuple[str, str]:
    """Where the page asks next, and the word of what it has seen."""
    match = re.search(r'hx-get="([^"]+)" hx-headers=\'{"x-seen": "(\w+)"}', text)
    return (match[1].replace("&amp;", "&"), match[2]) if match else (address, seen)


async def _timed(
    found: Measured, path: str, cookie: str, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    began = time.monotonic()
    status, text = await _get(path, cookie, headers)
    found.latencies.append(time.monotonic() - began)
    found.size += len(text)
    found.empty += status == 204
    return status, text


async def _get(path: str, cookie: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """One request on a connection of its own: gunicorn keeps idle ones for 2 s, as long as a page waits."""
    host, _colon, port = HOST.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    sent = {"Host": HOST, "Cookie": f"sessionid={cookie}", "Connection": "close", **(headers or {})}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    answer = await reader.read()
    writer.close()
    head, _blank, body = answer.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    if status not in (200, 204):
        raise SystemExit(f"{path}: answered {status}")
    return status, body.decode()


def show(found: dict[str, Measured], viewers: int, seconds: float) -> None:
    print(
        f"{viewers} viewers for {seconds:g} s, on {os.cpu_count()} cores, viewers included; a look every 2 s"
    )
    print(
        f"{'':<13}{'looks':>7}{'of it 204':>11}{'kB each':>9}{'median ms':>11}{'p95 ms':>8}{'CPU ms':>8}{'÷ bare':>8}"
    )
    bare = found["bare view"].cpu / found["bare view"].looks
    for kind, item in found.items():
        median, p95 = statistics.median(item.latencies), statistics.quantiles(item.latencies, n=20)[-1]
        each = item.cpu / item.looks
        print(
            f"{kind:<13}{item.looks:>7}{item.empty / item.looks:>11.0%}{item.size / 1000 / item.looks:>9.1f}"
            f"{1000 * median:>11.1f}{1000 * p95:>8.1f}{1000 * each:>8.2f}{each / bare:>8.1f}"
        )
    for kind in ("nothing new", "news"):
        item = found[kind]
        each, full = item.cpu / item.looks, found["in full"].cpu / found["in full"].looks
        print(
            f"{kind}: {viewers} viewers take {item.cpu / item.seconds:.0%} of one core; in full each look would cost "
            f"{full / each:.1f} times as much"
        )


if __name__ == "__main__":
    main()
