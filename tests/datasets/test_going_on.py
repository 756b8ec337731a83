"""An import whose worker is killed goes on where it was: nothing lost, nothing doubled, as if nothing had happened."""

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection

from datasets import imports, results, saved
from datasets.growing import GrowingWriter
from datasets.imports import run_import
from datasets.models import Dataset, DatasetVersion, SourceFile, VersionState
from datasets.rows import iter_rows
from datasets.saved import Saved, directory_of, saved_of
from datasets.storage import lines as stored_lines
from tests.datasets.making import parquet_of, picture, xlsx_of, zip_of


def chat(number: int) -> str:
    """A line; every fifth is one that was there before, and some hold what is warned of."""
    text = (
        f"Number {number % 50}, mail me: person{number}@example.com"
        if number % 7 == 0
        else f"q {number % 40}"
    )
    return json.dumps([{"prompt": text, "response": "回答" * (number % 3 + 1)}], ensure_ascii=False)


def lines(rows: int, start: int = 0) -> str:
    """Rows, between them lines that are broken, empty, or lack a reply."""
    wrong = {10: '{"prompt"', 20: "", 30: '[{"prompt": "p"}]'}
    return "\n".join(wrong.get(n % 60, chat(n)) for n in range(start, start + rows)) + "\n"


def table(rows: int) -> list[list[object]]:
    filled: list[list[object]] = [[f"q {n % 30}", "" if n % 9 == 5 else "r"] for n in range(rows)]
    return [["prompt", "response"], *filled]


def asked(image: str) -> str:
    said = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": image}]
    return json.dumps({"image": image, "messages": said})


PICTURES = {f"{color}.png": picture(color) for color in ("red", "green", "blue", "black")}
SOURCES: dict[str, dict[str, str | bytes]] = {
    "lines": {"a.jsonl": lines(70), "b.jsonl": lines(50, 70)},
    "array": {"a.json": json.dumps([json.loads(chat(n))[0] for n in range(60)] + [{"prompt": "p"}] * 3)},
    "csv": {"a.csv": "prompt,response\n" + "".join(f"q {n % 30},{'' if n % 9 == 5 else 'r'}\n" for n in range(70))},
    "xlsx": {"a.xlsx": xlsx_of(table(60))},
    "parquet": {"a.parquet": parquet_of({"prompt": [f"q {n % 30}" for n in range(60)], "response": ["r"] * 60})},
    "text": {"a.txt": "".join(f"A text {n % 30}\n" for n in range(60))},
    "archive": {"a.zip": zip_of({"a.jsonl": lines(50), "b/c.jsonl": lines(50), "d.doc": "?"})},
    "gb18030": {"a.jsonl": lines(60).encode("gb18030")},
    "captions": {"a.zip": zip_of({**PICTURES, **{f"{name[:-4]}.txt": name for name in list(PICTURES)[:3]}})},
    "pictures": {
        "a.zip": zip_of({**PICTURES, "a.jsonl": "\n".join(map(asked, ["red.png", "no.png", "blue.png", "red.png"]))})
    },
}  # fmt: skip


class Killed(BaseException):
    """The process ends here."""


def version_of(dataset: Dataset, files: dict[str, str | bytes]) -> DatasetVersion:
    """A version that waits for the import of the files."""
    number = dataset.versions.count() + 1
    version = DatasetVersion.objects.create(dataset=dataset, number=number, state=VersionState.IMPORTING)
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        path = default_storage.save(f"datasets/{version.uid}/source/{name}", ContentFile(data))
        encoding = "" if data.isascii() or content is not data else "gb18030"
        SourceFile.objects.create(version=version, name=name, path=path, size=len(data), encoding=encoding)
        version.size += len(data)
    version.save()
    return version


def outcome(version: DatasetVersion) -> dict[str, object]:
    """All that an import finds. Problems are listed as they are found, rows judged in groups: their order may vary."""
    version.refresh_from_db()
    names = (
        "state", "format", "row_count", "turn_count", "character_count", "content_hash", "progress", "problem_count",
        "problem_kinds", "statistics",
    )  # fmt: skip
    problems = sorted(map(json.dumps, version.problems))
    noted = sorted(stored_lines(version.problems_path)) if version.problems_path else []
    folders, files = default_storage.listdir(f"datasets/{version.uid}")
    kept = sorted(folders), sorted(name.partition("-")[0] for name in files)
    return {name: getattr(version, name) for name in names} | {
        "problems": problems, "noted": noted, "rows": list(iter_rows(version)), "kept": kept
    }  # fmt: skip


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[DatasetVersion, int], bool]:
    """Returns a function that begins an import and kills it after it has saved so many times; False if it came to its
    end before."""
    keep = imports._keep
    left = 0

    def kill(version: DatasetVersion, saved: Saved) -> None:
        nonlocal left
        keep(version, saved)
        left -= 1
        if not left:
            raise Killed

    def begin(version: DatasetVersion, times: int) -> bool:
        nonlocal left
        left = times
        DatasetVersion.objects.update(import_heartbeat_at=None)
        with monkeypatch.context() as patched:
            patched.setattr(imports, "_keep", kill)
            try:
                run_import(version.pk)
            except Killed:
                return True
        return False

    return begin


@pytest.mark.parametrize("kind", SOURCES)
def test_killed_three_times_it_finds_what_it_finds_at_once(kind, version, monkeypatch, killed_at) -> None:
    once = version_of(version.dataset, SOURCES[kind])
    assert run_import(once.pk)
    monkeypatch.setattr(results, "SAVE_SECONDS", -1)
    monkeypatch.setattr("datasets.reading.BLOCK_BYTES", 500)
    often = version_of(version.dataset, SOURCES[kind])
    kills = [killed_at(often, times) for times in (1, 2, 1)]
    assert kills == [True, True, True]
    DatasetVersion.objects.update(import_heartbeat_at=None)
    assert run_import(often.pk)
    expected, found = outcome(once), outcome(often)
    assert expected["row_count"]
    assert found == expected


def test_rows_that_were_done_are_not_judged_again(version, monkeypatch, killed_at) -> None:
    monkeypatch.setattr(results, "SAVE_SECONDS", -1)
    often = version_of(version.dataset, {"a.jsonl": lines(9), "b.jsonl": lines(60)})
    assert killed_at(often, 35)
    often.refresh_from_db()
    saved = saved_of(often)
    assert saved and saved.file == 1 and saved.passed.line > 20
    DatasetVersion.objects.update(import_heartbeat_at=None)
    judged: list[int] = []
    ready = results.Result._ready

    def count(result: results.Result, name: str, row: object) -> None:
        judged.append(1)
        ready(result, name, row)  # type: ignore[arg-type]

    monkeypatch.setattr(results.Result, "_ready", count)
    assert run_import(often.pk)
    assert 0 < len(judged) <= 60 - saved.passed.line


@pytest.mark.parametrize("harm", ["lost", "cut", "zeros"])
def test_damaged_files_of_the_killed_are_not_used(version, monkeypatch, killed_at, harm: str) -> None:
    once = version_of(version.dataset, SOURCES["lines"])
    assert run_import(once.pk)
    monkeypatch.setattr(results, "SAVE_SECONDS", -1)
    often = version_of(version.dataset, SOURCES["lines"])
    assert killed_at(often, 8)
    rows = directory_of(often, 1) / "rows.parquet"
    content = rows.read_bytes()
    rows.unlink()
    if harm != "lost":
        rows.write_bytes(content[:500] + b"\0" * (len(content) - 500) * (harm == "zeros"))
    DatasetVersion.objects.update(import_heartbeat_at=None)
    assert run_import(often.pk)
    assert outcome(often) == outcome(once)


def test_other_files_begin_anew(version, monkeypatch, killed_at) -> None:
    monkeypatch.setattr(results, "SAVE_SECONDS", -1)
    often = version_of(version.dataset, {"a.jsonl": lines(60)})
    assert killed_at(often, 4)
    data = f"{chat(1)}\n{chat(2)}\n"
    path = default_storage.save(f"datasets/{often.uid}/source/b.jsonl", ContentFile(data.encode()))
    often.files.update(name="b.jsonl", path=path, size=len(data.encode()))
    DatasetVersion.objects.update(import_heartbeat_at=None)
    assert run_import(often.pk)
    often.refresh_from_db()
    assert often.row_count == 2


@pytest.mark.django_db(transaction=True)
def test_a_process_that_is_killed_loses_nothing(version, monkeypatch) -> None:
    once = version_of(version.dataset, SOURCES["lines"])
    assert run_import(once.pk)
    monkeypatch.setattr(results, "SAVE_SECONDS", -1)
    often = version_of(version.dataset, SOURCES["lines"])
    child = os.fork()
    if not child:
        # The connection is the parent's; this process opens its own.
        shared, connection.connection = connection.connection, None
        keep, kept = imports._keep, [shared]

        def kill(version: DatasetVersion, saved: Saved) -> None:
            keep(version, saved)
            kept.append(saved)
            if len(kept) == 10:
                os.kill(os.getpid(), signal.SIGKILL)

        imports._keep = kill
        run_import(often.pk)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    often.refresh_from_db()
    saved = saved_of(often)
    assert saved and saved.rows
    DatasetVersion.objects.update(import_heartbeat_at=None)
    assert run_import(often.pk)
    assert outcome(often) == outcome(once)


def test_a_growing_file_is_whole_up_to_each_save(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    sizes = []
    writer = GrowingWriter(tmp_path / "grown")
    for number in range(30):
        writer.add(b"%d" % number, 1, 2, 0, f"file {number // 7}", number)
        if number % 8 == 7:
            sizes += [writer.save(), writer.save()]
    writer.close()
    content = (tmp_path / "grown").read_bytes()
    for count, size in zip((8, 8, 16, 16, 24, 24, 30), (*sizes, len(content)), strict=True):
        (tmp_path / "cut").write_bytes(content[:size])
        read = pq.read_table(tmp_path / "cut")
        assert read["place"].to_pylist() == list(range(count))
        assert read["file"].to_pylist()[-1] == f"file {(count - 1) // 7}"


def test_taking_over_needs_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read ahead, the rows so far would all be in memory: of two GB of conversations half a GB."""
    monkeypatch.setattr("datasets.columns.GROUP_BYTES", 1024**2)
    path, before = tmp_path / "rows.parquet", pa.total_allocated_bytes()
    writer = GrowingWriter(path)
    for number in range(12_000):
        writer.add(random.Random(number).randbytes(1000).hex().encode(), 1, 2000)
    writer.close()
    held = []

    class Watched:
        def update(self, joined: bytes) -> None:
            held.append(pa.total_allocated_bytes() - before)

    earlier = saved.Earlier(hash=Watched())
    saved._read_rows(path, earlier)
    assert earlier.rows == 12_000 and max(held) < path.stat().st_size / 2
