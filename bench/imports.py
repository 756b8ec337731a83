"""How long an import takes beside merely parsing the same file: `python -m bench.imports [MB]`.

A file of conversations (half Chinese, half English, always the same ones) is parsed line by line with msgspec and with
the standard library, then validated and counted (the rows go to a temporary file), then imported as the console
does it, with storage and PostgreSQL. Each takes place in a process of its own that first does
the same with the first rows, so that libraries are loaded and what happens once is told apart ("start"). It reports its
time by the clock, the time of computing of all its threads and of the main one alone, and the most memory that it held.
The goal is a ratio of computing time; by the clock it is less, because other threads hash and write the rows. The
ratios to msgspec can be compared between machines, seconds cannot (orjson needs four fifths of msgspec's time for this
file). Rows are not compressed on a disk, so that their file is as large as the one that they came from
(datasets.columns.packing); into an object storage they are, which is not measured here. Everything lies in a temporary
directory and goes with it.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets.models import DatasetVersion

MEGABYTES = 200
# Enough for some blocks of rows.
START_BYTES = 2 * 1024**2
# The goal for validation with statistics, as a multiple of parsing, and for the memory of a process.
GOAL_RATIO = 2.5
GOAL_MB = 400
HAN = "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家可下而过天去能对小多然于心学"
WORDS = (
    "the", "of", "and", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on", "are", "as", "with", "his",
    "they", "at", "be", "this", "have", "from", "or", "had", "by", "word", "but",
)  # fmt: skip


def main() -> None:
    if len(sys.argv) == 4:
        measured(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
        return
    size = int(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES
    with tempfile.TemporaryDirectory(prefix="jingtiao-bench-") as directory:
        path = Path(directory) / "chats.jsonl"
        rows = write_chats(path, size * 1024**2)
        write_chats(Path(directory) / "first.jsonl", START_BYTES)
        print(f"{rows:,} conversations, {path.stat().st_size / 1024**2:.0f} MB, {os.cpu_count()} cores")
        print(
            f"{'':24}{'start':>7}{'clock':>9}{'cpu':>9}{'main':>9}{'cpu ratio':>11}{'main ratio':>12}{'peak MB':>9}"
        )
        base = 0.0
        for step in STEPS:
            start, clock, cpu, main_cpu, peak = in_own_process(step, path, Path(directory) / "var")
            base = base or cpu
            ratios = f"{cpu / base:11.2f}{main_cpu / base:12.2f}"
            print(
                f"{step:24}{start:7.2f}{clock:9.2f}{cpu:9.2f}{main_cpu:9.2f}{ratios}{peak:9.0f}", flush=True
            )
        print(f"goal: {GOAL_RATIO} for validation and statistics, {GOAL_MB} MB")


def write_chats(path: Path, size: int) -> int:
    """Writes conversations of two turns until the file has the size; returns how many."""
    chance = random.Random(1)  # noqa: S311  (no secret)
    rows = 0
    with path.open("wb") as file:
        while file.tell() < size:
            said = []
            for _turn in range(2):
                is_han = chance.random() < 0.5
                for role in ("user", "assistant"):
                    length = chance.randrange(20, 120) * (3 if role == "assistant" else 1)
                    letters = (
                        chance.choices(HAN, k=length) if is_han else chance.choices(WORDS, k=length // 2)
                    )
                    text = ("" if is_han else " ").join(letters) + (".\n" if rows % 2 else "。“好”\n")
                    said.append({"role": role, "content": text})
            file.write(json.dumps({"messages": said}, ensure_ascii=False).encode() + b"\n")
            rows += 1
    return rows


def in_own_process(step: str, path: Path, var: Path) -> list[float]:
    """What `measured` prints of one step."""
    command = [sys.executable, "-m", "bench.imports", step, str(path), str(var)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-5:]
    return [float(figure) for figure in answer]


def measured(step: str, path: Path, var: Path) -> None:
    """Carries out a step in this process. Prints seconds of computing for its first rows, seconds by the clock, of
    computing, of computing in the main thread, and megabytes."""
    first, carry_out = STEPS[step](path.with_name("first.jsonl"), var), STEPS[step](path, var)
    computed = time.process_time()
    first()
    start = time.process_time() - computed
    clock, computed, main_thread = time.perf_counter(), time.process_time(), time.thread_time()
    carry_out()
    times = time.perf_counter() - clock, time.process_time() - computed, time.thread_time() - main_thread
    print(start, *times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if "django" in sys.modules:
        from django.db import connection

        connection.close()


# --- The steps: each prepares, and returns what is measured ---------------------------------------------------


def parse_msgspec(path: Path, var: Path) -> Callable[[], None]:
    import msgspec

    decode = msgspec.json.Decoder().decode
    return lambda: parse(path, decode)


def parse_json(path: Path, var: Path) -> Callable[[], None]:
    return lambda: parse(path, json.loads)


def parse(path: Path, decode: Callable[[bytes], object]) -> None:
    with path.open("rb") as file:
        for line in file:
            decode(line)


def validate(path: Path, var: Path) -> Callable[[], None]:
    """Rows, problems and statistics, the columns in a temporary file; nothing into storage or database."""
    version = prepared(path, var)
    import pyarrow.parquet as pq

    from datasets.problems import error_count
    from datasets.results import Result
    from datasets.statistics import statistics_of

    def run() -> None:
        with tempfile.TemporaryDirectory() as directory:
            result = Result(version, Path(directory), "", lambda done: None, lambda saved: None)
            result.read()
            with pq.ParquetFile(result.rows_path) as parquet:
                assert statistics_of(parquet)["turns"]["total"] == result.turns
            assert result.rows and not error_count(result.kinds)

    return run


def whole_import(path: Path, var: Path) -> Callable[[], None]:
    version = prepared(path, var)

    from datasets.imports import run_import
    from datasets.models import VersionState

    def run() -> None:
        assert run_import(version.pk)
        version.refresh_from_db()
        assert version.state == VersionState.DRAFT and version.statistics

    return run


def prepared(path: Path, var: Path) -> DatasetVersion:
    """A version that waits for the import of the file."""
    os.environ.update(VAR_DIR=str(var), DJANGO_SETTINGS_MODULE="console.settings")
    os.environ.setdefault("DEBUG", "0")
    from console import embedded

    embedded.ensure_services()
    import django

    django.setup()
    from django.core.files import File
    from django.core.files.storage import default_storage
    from django.core.management import call_command

    from console.models import Workspace
    from datasets.models import Dataset, DatasetVersion, SourceFile, VersionState

    call_command("migrate", verbosity=0)
    workspace, _new = Workspace.objects.get_or_create(name="bench")
    dataset = Dataset.objects.create(workspace=workspace, name=str(time.time()))
    size = path.stat().st_size
    version = DatasetVersion.objects.create(
        dataset=dataset, number=1, state=VersionState.IMPORTING, size=size
    )
    with path.open("rb") as file:
        stored = default_storage.save("datasets/chats.jsonl", File(file))
    SourceFile.objects.create(version=version, name=path.name, path=stored, size=size)
    return version


STEPS: dict[str, Callable[[Path, Path], Callable[[], None]]] = {
    "parse (msgspec)": parse_msgspec,
    "parse (json)": parse_json,
    "validate, statistics": validate,
    "whole import": whole_import,
}

if __name__ == "__main__":
    main()
