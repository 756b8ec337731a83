"""Lists and pages of a workspace that has grown: `python -m bench.lists [CALLS]`.

100,000 jobs with a run each, one of them with 1,000,000 points of curves; a run of another workspace has as many, so
that an index has something to pass over. Pages are asked for through Django's test client: middleware, sign-in, view,
PostgreSQL, template. The calls take turns with those of a bare view, so that a busy moment of the machine falls on all
alike; the ratio to it can be compared between machines, milliseconds cannot. "cpu ms" is what the web process itself
computes, without PostgreSQL. Everything lies in a temporary directory. Curves are asked for as by the first viewer, and
as by one who finds them thinned out already.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.swap import measure, set_up, show, tear_down

CALLS = 40
JOBS = 100_000
POINTS = 1_000_000
# Jobs of another workspace, and every how manieth job is one that still waits or trains.
STRANGERS, ACTIVE_EVERY = 20_000, 500


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    os.environ["LOG_LEVEL"] = "WARNING"
    with tempfile.TemporaryDirectory(prefix="jingtiao-bench-") as directory:
        set_up(Path(directory))
        requests = pages()
        print(f"{JOBS:,} jobs, {POINTS:,} points of one run; {calls} calls each, on {os.cpu_count()} cores")
        show(measure(requests, calls), goal=None)
        tear_down()


def pages() -> dict[str, Callable[[], Any]]:
    """What is measured, by name; each function makes one call and returns the answer."""
    from django.core.cache import cache
    from django.db import connection
    from django.test import Client
    from django.urls import reverse

    from console.models import Membership, Role, User, Workspace
    from jobs.models import Job, Run

    user = User.objects.create_user("bench", language="zh-hans")
    workspace, elsewhere = (Workspace.objects.create(name=name) for name in ("bench", "elsewhere"))
    Membership.objects.create(user=user, workspace=workspace, role=Role.OWNER)
    make_jobs(workspace.pk, user.pk, JOBS)
    make_jobs(elsewhere.pk, user.pk, STRANGERS)
    watched = Run.objects.filter(job__workspace=workspace, state="Done").order_by("pk").last()
    other = Run.objects.filter(job__workspace=elsewhere).order_by("pk").last()
    assert watched is not None and other is not None
    for run in (watched, other):
        make_points(run.pk)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    Run.objects.filter(pk=watched.pk).update(total_steps=POINTS // 4, step=POINTS // 4)
    deep = Job.objects.filter(workspace=workspace, name=f"job {JOBS // 2}").get()
    waiting = Run.objects.filter(job__workspace=workspace, state="Waiting").order_by("pk").last()
    running = Run.objects.filter(job__workspace=workspace, state="Running").order_by("pk").last()
    assert waiting is not None and running is not None
    client = Client()
    client.force_login(user)
    jobs = reverse("jobs:list")

    def get(address: str, **query: Any) -> Callable[[], Any]:
        return lambda: client.get(address, query)

    def of(name: str, run: Run, **query: Any) -> Callable[[], Any]:
        return get(reverse(f"jobs:{name}", args=[run.uid]), **query)

    def poll(address: str) -> Callable[[], Any]:
        return lambda: client.get(address, headers={"HX-Request": "true"})

    def first_curves() -> Any:
        cache.clear()
        return client.get(reverse("jobs:metrics", args=[watched.uid]))

    return {
        "bare view": get("/bare/"),
        "jobs: first page": get(jobs),
        "jobs: poll of it": poll(jobs),
        "jobs: deep page": get(jobs, before=deep.uid),
        "jobs: search, many": get(jobs, q="job 77"),
        "jobs: search, one": get(jobs, q=f"job {JOBS - 7}"),
        "jobs: search, none": get(jobs, q="no such job"),
        "jobs: by name, deep": get(jobs, sort="name", before=deep.uid),
        "jobs: that fail": get(jobs, state="Failed"),
        "jobs: that train": get(jobs, state="Running"),
        "job": get(reverse("jobs:detail", args=[watched.job.uid])),
        "run, a million": of("run", watched),
        "run, waiting": of("run", waiting),
        "run, training": of("run", running),
        "curves, the first": first_curves,
        "curves, again": of("metrics", watched),
        "curves, as a table": of("metrics", watched, table="", step=POINTS // 8),
        "resources": get(reverse("resources")),
    }


def make_jobs(workspace: int, user: int, count: int) -> None:
    """Jobs with a run each: done, some failed, a few that wait or train."""
    from django.utils import timezone

    from catalog.models import BaseModel
    from jobs.models import Job, Pool, Run

    now = timezone.now()
    models = list(BaseModel.objects.filter(family__model_type="text2text").values_list("pk", flat=True))
    pool, _new = Pool.objects.get_or_create(name="bench", defaults={"slots": 8, "queue": "bench"})
    for first in range(0, count, 5000):
        jobs = Job.objects.bulk_create(
            Job(workspace_id=workspace, name=f"job {number}", model_type="text2text", created_by_id=user)
            for number in range(first, min(first + 5000, count))
        )
        Run.objects.bulk_create(
            Run(
                job=job,
                version=1,
                base_model_id=models[number % len(models)],
                method="LoRA",
                state=_state(number),
                pool=pool,
                started_at=now,
                finished_at=now if number % ACTIVE_EVERY else None,
                created_by_id=user,
            )
            for number, job in enumerate(jobs)
        )
    Run.objects.filter(state="Running").update(claimed_at=now, heartbeat_at=now)


def _state(number: int) -> str:
    if number % ACTIVE_EVERY == 0:
        return "Running" if number % (10 * ACTIVE_EVERY) == 0 else "Waiting"
    return "Failed" if number % 50 == 1 else "Done"


def make_points(run: int) -> None:
    """Four curves of as many steps each: falling, with a spike here and there."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO jobs_metric (run_id, key, step, value)"
            " SELECT %s, key, step, 5 / (1 + step / 1000.0) + 0.2 * random() + (step %% 9973 = 0)::int * 10"
            " FROM generate_series(1, %s) AS step,"
            " unnest(ARRAY['loss', 'learning_rate', 'grad_norm', 'tokens_per_second']) AS key",
            [run, POINTS // 4],
        )


if __name__ == "__main__":
    main()
