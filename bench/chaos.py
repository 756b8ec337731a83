"""Runs in a storm: `python -m bench.chaos [--runs 24] [--minutes 7] [--seed 1] [--kinds web,trainer,…]`.

A console of its own (`manage.py up`, embedded services, a second training worker) in a temporary directory trains many
tiny runs with real trainers. Meanwhile, at moments that the seed decides, its processes are killed with -9, Redis is
emptied, PostgreSQL restarted, a worker frozen until its runs have been given away; some strikes wait for a moment that
is over quickly, such as the start of a trainer. When it has calmed down, every run, every metric step, every checkpoint
and every published model is accounted for (bench/accounting.py). Exit status 1 if anything is not. A machine that is
slow or busy may take up to three times the time, as long as something moves: what is stuck is told from what is slow.
`--keep DIRECTORY` keeps everything there. The seed decides what is struck and when; what the machine was doing just
then it cannot decide.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from jobs.models import Run

ROOT = Path(__file__).resolve().parents[1]
LEASE_SECONDS = 6
FROZEN_SECONDS = LEASE_SECONDS + 4
START_SECONDS = 180
# After the storm, before what became of the runs is looked up.
CALM_SECONDS = 60
# Of the whole time: new runs are submitted during the first part, and strikes end with the second, so that what has
# been hit can end.
SUBMITTING, STRIKING = 0.4, 0.6
# Past its time the storm is waited for as long as something has moved in so many seconds, and at most for so many times
# its length.
STUCK_SECONDS, LONGEST = 60, 3.0
# How long a strike waits for its moment.
MOMENT_SECONDS = 4
# Seconds between strikes, shortest and longest.
PAUSE = (2.0, 6.0)
ROWS = 120
EPOCHS = (1, 2, 4)
BATCH = 4
SETTINGS = {
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "TRAINING_SLOTS": "1",
    "TRAINER_THREADS": "1",
    "MAX_TRAINER_RESTARTS": "50",  # the storm kills more often than bad luck does
    "LOG_LEVEL": "INFO",
    "DJANGO_SETTINGS_MODULE": "console.settings",
}


# --- The console --------------------------------------------------------------------------------------------------


class Console:
    """`manage.py up` in a directory of its own, and beside it a second worker that trains."""

    def __init__(self, directory: Path) -> None:
        from console.embedded import free_port

        self.directory, self.port = directory, free_port()
        services = ("DATABASE_URL", "REDIS_URL", "STORAGE_URL", "RUNS_DIR", "WEIGHTS_DIR")
        own = {"VAR_DIR": str(directory), "PORT": str(self.port), **SETTINGS}
        own["PUBLISH_MERGED"] = os.environ.get("PUBLISH_MERGED", "never")
        self.environment = {name: value for name, value in os.environ.items() if name not in services} | own
        self.up = self._start(
            "up", [sys.executable, "manage.py", "up", "--no-demo", "--port", str(self.port)]
        )
        self.second: subprocess.Popen[bytes] | None = None

    def _start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Then this process knows where database and broker are, and the second worker runs."""
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.up.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"the console did not start: {(self.directory / 'up.log').read_text()[-2000:]}"
                )
            time.sleep(1)
        found = self.of_kind("web")[0].environ()
        self.environment |= {name: found[name] for name in ("DATABASE_URL", "REDIS_URL")}
        self.keep_second_worker()

    def keep_second_worker(self) -> None:
        """Starts it, again if it has been killed: supervisord does the same for the others."""
        if self.second is None or self.second.poll() is not None:
            command = [sys.executable, "-m", "celery", "-A", "console", "worker", "-Q", "training"]
            options = ["-n", "trainer2@%h", "-P", "threads", "-c", "1", "-l", "warning"]
            self.second = self._start("trainer2", [*command, *options])

    def is_ready(self) -> bool:
        """Whether the web process answers and reaches database, broker and storage."""
        address = f"http://127.0.0.1:{self.port}/readyz"
        with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(address, timeout=3):
            return True
        return False

    def of_kind(self, kind: str) -> list[psutil.Process]:
        """The processes of a kind that run at the moment."""
        return [process for process in self.processes() if _is_of(kind, _command(process))]

    def processes(self) -> list[psutil.Process]:
        """All of the console's, with the trainers, which outlive their workers."""
        found = {process.pid: process for process in _tree(self.up.pid)}
        if self.second is not None:
            found |= {process.pid: process for process in _tree(self.second.pid)}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("VAR_DIR") == str(self.directory):
                    found[process.pid] = process
        return list(found.values())

    def stop(self) -> list[str]:
        """As Ctrl-C does; returns the command lines of what is left, which is killed."""
        if self.second is not None:
            self.second.send_signal(signal.SIGCONT)
            self.second.send_signal(signal.SIGTERM)
        self.up.send_signal(signal.SIGINT)
        for process in (self.up, self.second):
            if process is not None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(90)
        left = self.processes()
        commands = [" ".join(_command(process)[:5]) for process in left]
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        return [command for command in commands if command]


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _command(process: psutil.Process) -> list[str]:
    """Its command line; empty for one that has ended or is only waited for."""
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def _is_of(kind: str, command: list[str]) -> bool:
    text = " ".join(command)
    if kind == "trainer":
        return "jobs.training" in command
    if kind in ("worker", "beat"):
        return "celery" in command and kind in command
    return {"web": "gunicorn", "redis": "valkey", "postgres": "postgres"}[kind] in text.partition(" -c ")[0]


# --- What strikes it ----------------------------------------------------------------------------------------------

Strike = Callable[[Console, random.Random], str | None]


def _kill(kind: str) -> Strike:
    def strike(console: Console, rng: random.Random) -> str | None:
        """-9 for one of the kind, parent or child."""
        processes = sorted(console.of_kind(kind), key=lambda process: process.pid)
        if not processes:
            return None
        victim = rng.choice(processes)
        victim.kill()
        return f"{kind} {victim.pid}"

    return strike


def _restart_postgres(console: Console, rng: random.Random) -> str | None:
    """As an operator does: a fast shutdown that ends every connection; supervisord starts it again."""
    pid = int((console.directory / "postgres" / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGINT)
    return f"postgres {pid}"


def _flush(console: Console, rng: random.Random) -> str | None:
    import redis

    with redis.Redis.from_url(console.environment["REDIS_URL"], socket_timeout=3) as client:
        client.flushall()
    return "everything"


def _freeze(console: Console, rng: random.Random) -> str | None:
    """A training worker that is away for longer than its lease, and then goes on as if nothing had been."""
    workers = [process for process in console.of_kind("worker") if "training" in _command(process)]
    if not workers:
        return None
    victim = rng.choice(sorted(workers, key=lambda process: process.pid))
    victim.suspend()
    console_thaw.append((time.monotonic() + FROZEN_SECONDS, victim))
    return f"worker {victim.pid}"


def _when(moment: Callable[[], bool], strike: Strike) -> Strike:
    """The strike at a moment that is over quickly; at the end of MOMENT_SECONDS where it does not come."""

    def wait_and_strike(console: Console, rng: random.Random) -> str | None:
        deadline = time.monotonic() + MOMENT_SECONDS
        while time.monotonic() < deadline:
            if moment():
                hit = strike(console, rng)
                return hit and f"{hit}, just then"
            time.sleep(0.02)
        return strike(console, rng)

    return wait_and_strike


def _one_of(*kinds: str) -> Strike:
    return lambda console, rng: _kill(rng.choice(kinds))(console, rng)


def _is_starting() -> bool:
    from jobs.models import Run, RunState

    return Run.objects.filter(state=RunState.RUNNING, phase="starting").exists()


def _is_publishing() -> bool:
    from jobs.models import Publication, Run, RunState

    pending = Run.objects.filter(state=RunState.DONE, publication=Publication.PENDING)
    return pending.exclude(model_version=None).exists()


def _is_making_room() -> bool:
    from jobs.models import Run, RunState

    return Run.objects.filter(state=RunState.RUNNING, preempt_requested_at__isnull=False).exists()


def _is_claimable() -> bool:
    from jobs import queueing
    from jobs.models import Pool

    return any(queueing.startable(pool) for pool in Pool.objects.all())


def _pause(console: Console, rng: random.Random) -> str | None:
    """Asks a run that trains to pause, and kills its worker or its trainer while it does so; `_ask` resumes it."""
    from console.models import User
    from jobs import lifecycle
    from jobs.models import Run, RunState

    run = Run.objects.filter(state=RunState.RUNNING, stop_requested_at=None).order_by("?").first()
    if run is None or not lifecycle.request_pause(run, User.objects.get(username="storm")):
        return None
    time.sleep(rng.uniform(0, 1))
    return _one_of("worker", "trainer")(console, rng)


# Frozen processes and when they go on.
console_thaw: list[tuple[float, psutil.Process]] = []


def thaw(now: float) -> None:
    for item in [item for item in console_thaw if item[0] <= now]:
        console_thaw.remove(item)
        with suppress(psutil.Error):
            item[1].resume()


KINDS: dict[str, Strike] = {
    **{kind: _kill(kind) for kind in ("web", "worker", "trainer", "beat", "redis", "postgres")},
    "restart": _restart_postgres,
    "flush": _flush,
    "freeze": _freeze,
    "starting": _when(_is_starting, _one_of("worker", "trainer")),
    "publishing": _when(_is_publishing, _kill("worker")),
    "preempting": _when(_is_making_room, _one_of("worker", "trainer")),
    "claiming": _when(_is_claimable, _restart_postgres),
    "pausing": _pause,
}


def plan(kinds: Iterable[str], seconds: float, rng: random.Random) -> list[tuple[float, str]]:
    """When what strikes, in seconds from the beginning: every kind once before any comes again."""
    at, strikes = 0.0, list[tuple[float, str]]()
    turn: list[str] = []
    while (at := at + rng.uniform(*PAUSE)) < seconds:
        if not turn:
            turn = list(kinds)
            rng.shuffle(turn)
        strikes.append((at, turn.pop()))
    return strikes


# --- What it is asked to do ---------------------------------------------------------------------------------------


@dataclass
class Wish:
    """A run that somebody wants, when, and what may come of it."""

    at: float
    name: str
    method: str
    epochs: int
    publishes: str = ""
    idle: bool = False
    stop_after: float | None = None
    breaks: bool = False
    submitted_at: float | None = None

    @property
    def ends(self) -> set[str]:
        if self.breaks:
            return {"Failed"}
        return {"Done", "Stopped"} if self.stop_after is not None else {"Done"}


def wishes(count: int, seconds: float, rng: random.Random) -> list[Wish]:
    """Ordinary runs, and among them idle ones (early and long, so that others take their devices), some that are
    stopped and some whose weights are missing."""
    found = []
    for number in range(count):
        kind = rng.random()
        idle = kind < 0.2
        found.append(
            Wish(
                at=rng.uniform(0, seconds * (0.1 if idle else 1)),
                name=f"storm {number}",
                method=rng.choice(("LoRA", "FullFineTuning")),
                epochs=max(EPOCHS) if idle else rng.choice(EPOCHS),
                publishes=rng.choice(("", "storm", f"storm-{number}")),
                idle=idle,
                stop_after=rng.uniform(1, 15) if 0.2 <= kind < 0.35 else None,
                breaks=0.35 <= kind < 0.4,
            )
        )
    return sorted(found, key=lambda wish: wish.at)


def set_up(console: Console) -> None:
    """Somebody with a workspace, published rows, a model to publish to, and a tiny Llama to train."""
    os.environ.update(console.environment)
    import django

    django.setup()
    from bench.training import _conversation
    from catalog.models import BaseModel, Model, ModelType, WeightsKind
    from console.models import Membership, Role, User, Workspace
    from datasets.models import Dataset, DatasetVersion, VersionState
    from jobs.demo import make_weights
    from jobs.models import Pool
    from tests.rows import store_rows

    user = User.objects.create_user("storm")
    workspace = Workspace.objects.create(name="storm")
    Membership.objects.create(user=user, workspace=workspace, role=Role.OWNER)
    dataset = Dataset.objects.create(workspace=workspace, name="storm")
    version = DatasetVersion(dataset=dataset, number=1, state=VersionState.PUBLISHED)
    version.rows_path = store_rows("datasets/storm/rows.parquet", map(_conversation, range(ROWS)))
    version.row_count = version.turn_count = ROWS
    version.save()
    Model.objects.create(workspace=workspace, name="storm", model_type=ModelType.TEXT_TO_TEXT)
    llama, ernie = (
        BaseModel.objects.filter(architecture=name, offers__method="LoRA").distinct()[0]
        for name in ("llama", "ernie4_5")
    )
    for model, location in ((llama, make_weights("llama")), (ernie, console.directory / "nowhere")):
        BaseModel.objects.filter(pk=model.pk).update(
            weights_kind=WeightsKind.DIRECTORY,
            weights_location=str(location),
            name=f"storm-{model.architecture}",
        )
    Pool.objects.update(slots=2, device_counts=[1, 2])


def submit(wish: Wish) -> None:
    """What the button does; a second time, after a failure that left open whether it was done, it looks first."""
    from catalog.models import BaseModel
    from console.models import User, Workspace
    from datasets.mixing import Source
    from datasets.models import DatasetVersion
    from jobs.configuration import Configuration, submit
    from jobs.models import Pool, Run
    from jobs.resources import Resources

    if Run.objects.filter(job__name=wish.name).exists():
        return
    values: dict[str, Any] = {
        "epoch": wish.epochs,
        "learningRate": 3e-4,
        "batchSize": BATCH,
        "maxSeqLen": 512,
    }
    submit(
        Workspace.objects.get(name="storm"),
        User.objects.get(username="storm"),
        Configuration(
            name=wish.name,
            model_type="text2text",
            base_model=BaseModel.objects.get(name=f"storm-{'ernie4_5' if wish.breaks else 'llama'}"),
            method=wish.method,
            hyperparameters=values | {"loggingSteps": 1, "saveStep": 8, "checkpointCount": 3, "seed": 7},
            sources=[Source(DatasetVersion.objects.get(dataset__name="storm"))],
            split_ratio=0,
            resources=Resources(pool=Pool.objects.get(), devices=1, idle=wish.idle),
            auto_publish=bool(wish.publishes),
            model_name=wish.publishes,
        ),
    )


# --- The storm ----------------------------------------------------------------------------------------------------


@dataclass
class Storm:
    """What is still to come, and what has been."""

    strikes: deque[tuple[float, str]]
    wanted: list[Wish]
    hits: Counter[str] = field(default_factory=Counter)
    # Kind of the strike → after how many seconds the console was ready again.
    back: dict[str, list[float]] = field(default_factory=dict)
    struck: list[tuple[str, float]] = field(default_factory=list)


def rage(console: Console, storm: Storm, seconds: float, rng: random.Random) -> bool:
    """Submits, strikes and waits until all is over; False if something is stuck, or the time is up by far."""
    from django.db import InterfaceError, OperationalError, connection

    began = time.monotonic()
    seen: object = None
    moved = 0.0
    while (now := time.monotonic() - began) < max(seconds, min(LONGEST * seconds, moved + STUCK_SECONDS)):
        console.keep_second_worker()
        thaw(time.monotonic())
        while storm.strikes and storm.strikes[0][0] <= now:
            _strike(console, storm, storm.strikes.popleft()[1], now, rng)
        if storm.struck and console.is_ready():
            for kind, at in storm.struck:
                storm.back.setdefault(kind, []).append(time.monotonic() - began - at)
            storm.struck.clear()
        try:
            if _ask(storm.wanted, now) and not storm.strikes and not storm.struck and not console_thaw:
                return True
            if (state := _standing()) != seen:
                seen, moved = state, now
        except (OperationalError, InterfaceError):
            connection.close()  # at the next turn
        time.sleep(1)
    return False


def _strike(console: Console, storm: Storm, kind: str, now: float, rng: random.Random) -> None:
    try:
        hit = KINDS[kind](console, rng)
    except (OSError, psutil.Error, ValueError):
        hit = None  # it is away already
    except Exception as error:  # the client's own errors of a Redis that is away
        hit = None
        print(f"{now:6.1f} s  {kind:9} could not: {type(error).__name__}", flush=True)
    if hit is not None:
        print(f"{now:6.1f} s  {kind:9} {hit}", flush=True)
        storm.hits[kind] += 1
        storm.struck.append((kind, now))


def _standing() -> object:
    """What changes as long as any run gets on."""
    from jobs.models import Run

    return list(Run.objects.order_by("pk").values_list("state", "publication", "attempt", "step", "phase"))


def _ask(wanted: list[Wish], now: float) -> bool:
    """Submits and stops what is due, resumes what has paused; True when every run is over and published."""
    from console.models import User
    from jobs import lifecycle
    from jobs.models import ACTIVE_STATES, Publication, Run, RunState

    for wish in wanted:
        if wish.submitted_at is None and wish.at <= now:
            submit(wish)
            wish.submitted_at = now
        due = wish.stop_after is not None and wish.submitted_at is not None
        if due and wish.submitted_at + wish.stop_after <= now:  # type: ignore[operator]
            run = Run.objects.get(job__name=wish.name)
            if run.is_active and run.stop_requested_at is None:
                lifecycle.request_stop(run, User.objects.get(username="storm"))
    for run in Run.objects.filter(state=RunState.WAITING, paused_at__isnull=False):
        lifecycle.resume(run, User.objects.get(username="storm"))
    pending = Run.objects.filter(state=RunState.DONE, publication=Publication.PENDING)
    active = Run.objects.filter(state__in=ACTIVE_STATES)
    return all(wish.submitted_at is not None for wish in wanted) and not (active | pending).exists()


# --- Afterwards ---------------------------------------------------------------------------------------------------


def settle(console: Console, wanted: list[Wish]) -> tuple[dict[str, tuple[int, list[str]]], dict[str, int]]:
    """By check: how many things were looked at, and what is not accounted for; and figures of the runs."""
    from bench import accounting
    from jobs.models import Run

    runs = {
        run.job.name: run for run in Run.objects.select_related("job", "base_model", "model_version__model")
    }
    found: dict[str, tuple[int, list[str]]] = {}

    def check(name: str, look: Callable[[Run, Wish], Iterable[str]]) -> None:
        lines = [
            f"{runs[wish.name]} {line}"
            for wish in wanted
            if wish.name in runs
            for line in look(runs[wish.name], wish)
        ]
        found[name] = len(runs), lines

    asked = Counter(wish.name for wish in wanted)
    there = Counter(Run.objects.values_list("job__name", flat=True))
    found["every run is there, once"] = (
        len(asked),
        [f"{name}: {count} runs" for name, count in ((asked - there) + (there - asked)).items()],
    )
    check("right end state, told once", lambda run, wish: accounting.state(run, wish.ends))
    check("its people told once", lambda run, wish: accounting.notifications(run))
    check("one trainer at a time", lambda run, wish: accounting.trainers(accounting.events_of(run)))
    check("metrics: no gaps, as reported", lambda run, wish: accounting.metrics(run))
    check("checkpoints as on the disk", lambda run, wish: accounting.checkpoints(run))
    check("published once, whole", lambda run, wish: accounting.publication(run))
    found["model versions belong to runs"] = len(runs), list(accounting.versions(runs.values()))

    def alike(run: Run) -> object:
        return run.method, run.hyperparameters["epoch"]

    found["same curve as its twins"] = len(runs), list(accounting.twins(runs.values(), alike))
    over = {str(accounting.run_directory(run)) for run in runs.values() if run.is_terminal}
    training = [" ".join(_command(process)[3:]) for process in console.of_kind("trainer")]
    found["nobody trains what is over"] = len(over), [path for path in training if path in over]
    figures = Counter(run.state for run in runs.values())
    figures["starts"] = sum(run.attempt for run in runs.values())
    figures["steps"] = sum(run.step for run in runs.values())
    figures["taken over"] = sum(run.timeline.filter(kind="taken_over").count() for run in runs.values())
    figures["preempted"] = sum(run.timeline.filter(kind="preempted").count() for run in runs.values())
    return found, figures


def report(
    storm: Storm, found: dict[str, tuple[int, list[str]]], figures: dict[str, int], seconds: float
) -> int:
    """Prints both tables; returns how many things are not accounted for."""
    print(f"\n{'strike':12}{'times':>7}{'ready again after, median':>28}{'longest':>10}")
    for kind, times in sorted(storm.hits.items()):
        back = storm.back.get(kind, [])
        median, longest = (f"{statistics.median(back):.1f} s", f"{max(back):.1f} s") if back else ("–", "–")
        print(f"{kind:12}{times:7}{median:>28}{longest:>10}")
    print(f"\n{', '.join(f'{value} {name}' for name, value in figures.items())}; {seconds:.0f} s")
    print(f"\n{'accounted for':34}{'looked at':>10}{'missing':>9}")
    for name, (count, lines) in found.items():
        print(f"{name:34}{count:10}{len(lines):9}")
    for name, (_count, lines) in found.items():
        for line in lines:
            print(f"NOT ACCOUNTED FOR: {name}: {line}")
    return sum(len(lines) for _count, lines in found.values())


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.chaos", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--runs", type=int, default=24)
    parser.add_argument("--minutes", type=float, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--keep", type=Path, help="an empty directory to work in, which stays")
    chosen = parser.parse_args()
    kinds = [kind for kind in chosen.kinds.split(",") if kind]
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(KINDS)}")
    if chosen.keep:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        return weather(chosen.keep, chosen, kinds)
    with tempfile.TemporaryDirectory(prefix="jingtiao-chaos-", ignore_cleanup_errors=True) as directory:
        return weather(Path(directory), chosen, kinds)


def weather(directory: Path, chosen: argparse.Namespace, kinds: list[str]) -> int:
    """The whole of it, from start to tables."""
    rng = random.Random(chosen.seed)  # noqa: S311
    seconds = 60 * chosen.minutes
    storm = Storm(
        deque(plan(kinds, STRIKING * seconds, rng) if kinds else ()),
        wishes(chosen.runs, SUBMITTING * seconds, rng),
    )
    print(f"{chosen.runs} runs, {len(storm.strikes)} strikes, seed {chosen.seed}", flush=True)
    console = Console(directory)
    found: dict[str, tuple[int, list[str]]] = {}
    figures: dict[str, int] = {}
    began = time.monotonic()
    try:
        console.wait_until_ready()
        set_up(console)
        began = time.monotonic()
        in_time = rage(console, storm, seconds, rng)
        deadline = time.monotonic() + CALM_SECONDS
        while not console.is_ready() and time.monotonic() < deadline:
            time.sleep(1)
        found, figures = settle(console, storm.wanted)
        stuck = f"not after {time.monotonic() - began:.0f} s, and nothing moved any more or the time was up"
        found["over in time"] = 1, [] if in_time else [stuck]
    finally:
        thaw(float("inf"))
        elapsed = time.monotonic() - began
        if found:
            from django.db import connection

            connection.close()
        left = console.stop()
    found["nothing left behind"] = 1, left
    return int(report(storm, found, figures, elapsed) > 0)


if __name__ == "__main__":
    sys.exit(main())
