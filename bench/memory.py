"""How much memory a large dataset takes on its way: `python -m bench.memory [MB or FILE]`.

A file of conversations is imported, looked at, searched, published, mixed into the data of a run, exported in each kind
of file, and tokenised and packed as the trainer does it. Each step takes place in a process of its own, looked at 50
times a second, and tells the most of its own memory that this process held (RssAnon; pages of mapped files are the
system's to drop), how much of that there was before the step (Python with Django and its libraries, or with torch and
its), and the most with mapped files (VmHWM). The goal is GOAL_MB for a file of 2 GB, for the trainer above its
libraries. Everything lies in a temporary directory and goes with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.imports import prepared, write_chats

MEGABYTES = 2048
GOAL_MB = 400
TOKENIZED_LENGTH = 2048
VOCABULARY = 4096
TRAINER = "trainer reads"


def main() -> None:
    if len(sys.argv) == 4:
        carry_out(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
        return
    asked = sys.argv[1] if len(sys.argv) > 1 else str(MEGABYTES)
    with tempfile.TemporaryDirectory(prefix="jingtiao-bench-") as directory:
        path = Path(asked) if not asked.isdecimal() else Path(directory) / "chats.jsonl"
        if asked.isdecimal():
            write_chats(path, int(asked) * 1024**2)
        print(f"{path.stat().st_size / 1024**2:.0f} MB, {os.cpu_count()} cores")
        print(f"{'':24}{'clock':>9}{'cpu':>9}{'before MB':>11}{'peak MB':>9}{'mapped too':>12}", flush=True)
        highest = 0.0
        for step in STEPS:
            command = [sys.executable, "-m", "bench.memory", step, str(path), str(Path(directory) / "var")]
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            clock, cpu, before, peak, mapped = map(float, answer.stdout.split()[-5:])
            highest = max(highest, peak - before if step == TRAINER else peak)
            print(f"{step:24}{clock:9.1f}{cpu:9.1f}{before:11.0f}{peak:9.0f}{mapped:12.0f}", flush=True)
        print(f"goal: {GOAL_MB} MB; highest {highest:.0f} MB")


def carry_out(step: str, path: Path, var: Path) -> None:
    """One step in this process. Prints seconds by the clock and of computing, and megabytes before and at most."""
    os.environ["LOG_LEVEL"] = "WARNING"
    run = STEPS[step](path, var)
    before, clock, computed = held("RssAnon"), time.perf_counter(), time.process_time()
    most, ended = [before], threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], held("RssAnon"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        run()
    finally:
        ended.set()
        watcher.join()
    print(time.perf_counter() - clock, time.process_time() - computed, before, most[0], held("VmHWM"))
    if "django" in sys.modules:
        from django.db import connection

        connection.close()


def held(figure: str) -> float:
    """A figure of this process's memory, in MB (proc(5))."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _colon, value = line.partition(":")
        if name == figure:
            return int(value.split()[0]) / 1024
    raise KeyError(figure)


# --- The steps: each prepares, and returns what is measured ---------------------------------------------------


def whole_import(path: Path, var: Path) -> Callable[[], None]:
    version = prepared(path, var)
    from datasets.imports import run_import
    from datasets.models import VersionState

    def run() -> None:
        assert run_import(version.pk)
        version.refresh_from_db()
        assert version.state == VersionState.DRAFT

    return run


def the_version(var: Path) -> Any:
    os.environ.update(VAR_DIR=str(var), DJANGO_SETTINGS_MODULE="console.settings")
    os.environ.setdefault("DEBUG", "0")
    from console import embedded

    embedded.ensure_services()
    import django

    django.setup()
    from datasets.models import DatasetVersion

    return DatasetVersion.objects.select_related("dataset").get()


def publishing(path: Path, var: Path) -> Callable[[], None]:
    version = the_version(var)
    from datasets.publishing import publish

    return lambda: publish(version)


def pages(path: Path, var: Path) -> Callable[[], None]:
    """The pages of rows, searched and turned, of statistics and of problems."""
    version = the_version(var)
    client = signed_in(version)

    def run() -> None:
        from django.urls import reverse

        for name, query in (
            ("rows", {}),
            ("rows", {"page": str(version.row_count // 50)}),
            ("rows", {"q": "nothing that stands in a row"}),
            ("statistics", {}),
            ("problems", {}),
        ):
            assert client.get(reverse(f"datasets:{name}", args=[version.uid]), query).status_code == 200

    return run


def exported(key: str) -> Callable[[Path, Path], Callable[[], None]]:
    def prepare(path: Path, var: Path) -> Callable[[], None]:
        version = the_version(var)
        client = signed_in(version)

        def run() -> None:
            from django.urls import reverse

            address = reverse("datasets:export_file", args=[version.uid])
            answer = client.get(address, {"as": key, "leave_out": "1"})
            assert answer.status_code == 200
            assert sum(map(len, answer.streaming_content)) > 0

        return run

    return prepare


def mixing(path: Path, var: Path) -> Callable[[], None]:
    """The data of a run: every row one and a half times, but those that are held out."""
    version = the_version(var)
    from django.conf import settings
    from django.core.management import call_command

    from catalog.models import BaseModel
    from jobs.models import Job, Run, RunSource
    from jobs.run_data import write_data

    call_command("load_catalog", verbosity=0)
    model = BaseModel.objects.filter(family__model_type="text2text").first()
    assert model is not None
    job = Job.objects.create(workspace=version.dataset.workspace, name="bench", model_type="text2text")
    run = Run.objects.create(job=job, version=1, base_model=model, method="LoRA", split_ratio=20)
    RunSource.objects.create(run=run, version=version, sampling_rate=1.5)
    directory = Path(settings.RUNS_DIR) / "bench"
    directory.mkdir(parents=True)

    def write() -> None:
        data = write_data(run, directory)
        # Tokenised is the file itself: one and a half times as much would only take longer.
        (data / "train.jsonl").unlink()

    return write


def tokenizing(path: Path, var: Path) -> Callable[[], None]:
    """What the trainer does with the rows before the first step, with its own imports."""
    var.mkdir(exist_ok=True)
    root = str(Path(__file__).resolve().parents[1])
    # As in `python -m jobs.training`: the library `datasets` comes before the app of the same name.
    sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != root] + [root]
    for name in [name for name in sys.modules if name.partition(".")[0] == "datasets"]:
        del sys.modules[name]
    os.environ |= {
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
        "HF_DATASETS_CACHE": str(var / "hf"),
    }

    from jobs.training.text import _dataset, pack
    from jobs.training.tiny import make_tokenizer, read_texts
    from jobs.training.token_cache import prepare

    # A vocabulary of usual size is no matter here: fewer tokens would only take less memory.
    tokenizer = make_tokenizer(read_texts(Path(root) / "datasets/samples/assistant.jsonl"), VOCABULARY)

    def run() -> None:
        rows = prepare(path, tokenizer, TOKENIZED_LENGTH)
        assert rows.longest() <= TOKENIZED_LENGTH
        assert len(pack(_dataset(rows), TOKENIZED_LENGTH, var))

    return run


def signed_in(version: Any) -> Any:
    from django.conf import settings
    from django.test import Client

    from console.models import Membership, Role, User

    settings.ALLOWED_HOSTS = ["testserver"]
    settings.STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    user, _new = User.objects.get_or_create(username="bench")
    Membership.objects.get_or_create(user=user, workspace=version.dataset.workspace, role=Role.OWNER)
    client = Client()
    client.force_login(user)
    return client


STEPS: dict[str, Callable[[Path, Path], Callable[[], None]]] = {
    "import": whole_import,
    "pages, search": pages,
    "publish": publishing,
    "mix": mixing,
    "export, JSON lines": exported("messages.jsonl"),
    "export, CSV": exported("prompt_response.csv"),
    "export, Parquet": exported("messages.parquet"),
    TRAINER: tokenizing,
}

if __name__ == "__main__":
    main()
