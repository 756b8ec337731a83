"""Server time of every htmx swap of the wizard, on the whole catalogue: `python -m bench.swap [CALLS]`.

Each swap is asked for through Django's test client: middleware, sign-in, view, PostgreSQL, template; no network
and no browser. The calls of all swaps take turns with those of a bare view that answers "ok", so that a busy moment
of the machine falls on all alike; the ratio to the bare view can be compared between machines, milliseconds cannot.
"cpu ms" is the median of what the web process itself computes: without PostgreSQL, and without waiting for a core.
Everything lies in a temporary directory and goes with it.
"""

from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.test import Client

CALLS = 200
# The goal for the median of a swap on two cores.
GOAL_MS = 30
FILES = 5


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    with tempfile.TemporaryDirectory(prefix="jingtiao-bench-") as directory:
        set_up(Path(directory))
        requests = swaps()
        print(f"{calls} calls each, on {os.cpu_count()} cores")
        show(measure(requests, calls))
        tear_down()


def set_up(directory: Path) -> None:
    """Services, tables, catalogue and static files, all in `directory`."""
    os.environ.update(
        VAR_DIR=str(directory), LANGUAGE_CODE="zh-hans", DJANGO_SETTINGS_MODULE="console.settings"
    )
    os.environ.setdefault("DEBUG", "0")
    from console import embedded

    embedded.ensure_services()
    import django

    django.setup()
    from django.conf import settings
    from django.core.management import call_command

    settings.ROOT_URLCONF = "bench.urls"
    settings.ALLOWED_HOSTS = ["testserver"]
    call_command("migrate", verbosity=0)
    call_command("load_catalog", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


def tear_down() -> None:
    """Ends the database while its directory is there: with the process it would be too late for that."""
    from django.db import connections

    from console import embedded

    connections.close_all()
    embedded.stop_postgres(embedded.var_dir() / "postgres")


def swaps() -> dict[str, Callable[[], Any]]:
    """What is measured, by name; each function makes one call and returns the answer."""
    from django.urls import reverse

    from catalog.models import BaseModel
    from jobs.views.wizard import PARTS

    client, source = signed_in()
    BaseModel.objects.update(weights_kind="directory", weights_location="/nowhere")
    panel = reverse("jobs:panel")
    form = {
        "name": "a bench",
        "type": "text2text",
        "family": "ernie-speed",
        "base_model": "ERNIE-Speed-8K",
        "method": "LoRA",
        "source": source,
        f"rate-{source}": "1.5",
        "data_for": "text2text messages",
        "auto_publish": "on",
        "model_name": "bench",
    }

    def post(target: str, **typed: str) -> Callable[[], Any]:
        data, headers = form | typed, {"HX-Request": "true", "HX-Target": target}
        return lambda: client.post(panel, data, headers=headers)

    found: dict[str, Callable[[], Any]] = {"bare view": lambda: client.get("/bare/")}
    found["training: method"] = post("training-config", method="FullFineTuning")
    found["training: scheduler"] = post("training-config", **{"hp-schedulerName": "cosine"})
    found["training: family"] = post("training-config", family="llama2", base_model="")
    found["training: incremental"] = post("training-config", incremental="on")
    found["training: text-to-image"] = post("training-config", type="text2image", family="", base_model="")
    for part in PARTS:
        if part != "training-config":
            found[part] = post(part)
    save = reverse("jobs:save_draft")
    found["draft saved"] = lambda: client.post(save, form, headers={"HX-Request": "true"})
    found["(the whole page)"] = lambda: client.get(reverse("jobs:create"), {"base_model": "ERNIE-Speed-8K"})
    return found


def signed_in() -> tuple[Client, str]:
    """A client of somebody with a workspace with FILES published versions; the uid of the first of them."""
    from django.test import Client

    from console.models import Membership, Role, User, Workspace
    from datasets.models import Dataset, DatasetVersion, VersionState

    user = User.objects.create_user("bench", language="zh-hans")
    workspace = Workspace.objects.create(name="bench")
    Membership.objects.create(user=user, workspace=workspace, role=Role.OWNER)
    versions = [
        DatasetVersion.objects.create(
            dataset=Dataset.objects.create(workspace=workspace, name=f"data {number}"),
            number=1,
            state=VersionState.PUBLISHED,
            row_count=5000,
            turn_count=9000,
            character_count=2_000_000,
        )
        for number in range(FILES)
    ]
    client = Client()
    client.force_login(user)
    return client, versions[0].uid


def refusal(answer: Any) -> str:
    """What the page says that a form with mistakes comes back as."""
    found = re.findall(r'class="field-error">.*?<span>(.*?)</span>', answer.content.decode(), re.DOTALL)
    return " ".join(found) or f"it answered {answer.status_code}"


@dataclass
class Measured:
    """Milliseconds of every call, by the clock and of the processor, and the size of an answer in bytes."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    size: int = 0


def measure(requests: dict[str, Callable[[], Any]], calls: int) -> dict[str, Measured]:
    """Makes every call `calls` times, in turns; a few rounds before go unmeasured."""
    measured = {name: Measured() for name in requests}
    for turn in range(-5, calls):
        for name, call in requests.items():
            wall, cpu = time.perf_counter(), time.process_time()
            answer = call()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if answer.status_code != 200:
                raise SystemExit(f"{name}: answered {answer.status_code}")
            if turn >= 0:
                measured[name].wall.append(1000 * wall)
                measured[name].cpu.append(1000 * cpu)
                measured[name].size = len(answer.content)
    return measured


def show(measured: dict[str, Measured], goal: float | None = GOAL_MS) -> None:
    """Prints a line for each; `goal` in ms is what medians are held against."""
    bare = statistics.median(measured["bare view"].wall)
    print(f"{'call':28}{'median ms':>10}{'p95 ms':>9}{'cpu ms':>9}{'× bare':>8}{'kB':>8}")
    slow = []
    for name, found in measured.items():
        median, p95 = statistics.median(found.wall), statistics.quantiles(found.wall, n=20)[-1]
        cpu = statistics.median(found.cpu)
        print(f"{name:28}{median:10.1f}{p95:9.1f}{cpu:9.1f}{median / bare:8.1f}{found.size / 1000:8.1f}")
        if goal is not None and median > goal and not name.startswith("("):
            slow.append(name)
    if goal is not None:
        print(f"over the goal of {goal:g} ms: {', '.join(slow) or 'none'}")


if __name__ == "__main__":
    main()
