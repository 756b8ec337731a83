"""The import: what it counts and keeps, that nobody imports twice, and that nothing is lost when a worker dies."""

import errno
import hashlib
import json
from datetime import timedelta

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, default_storage
from django.utils import timezone

from datasets import imports, noted, publishing, results
from datasets.imports import run_import, stale_imports
from datasets.models import DatasetVersion, VersionState
from datasets.rows import iter_rows, page_of_rows

GOOD = '[{"prompt": "你好", "response": "Hi!"}]'


def stored_rows(version: DatasetVersion) -> list[str]:
    return [name for name in default_storage.listdir(f"datasets/{version.uid}")[1] if name.startswith("rows")]


def imported(version: DatasetVersion) -> DatasetVersion:
    assert run_import(version.pk)
    version.refresh_from_db()
    return version


def test_good_data_end_as_a_counted_draft(waiting) -> None:
    two_turns = '[{"prompt": "a", "response": "b"}, {"prompt": "c", "response": "d"}]'
    version = imported(waiting(a__jsonl=f"{GOOD}\n{two_turns}\n", b__jsonl=GOOD[:-2] + ', "weight": 1}]'))
    assert (version.state, version.format) == (VersionState.DRAFT, "prompt_response")
    assert (version.row_count, version.turn_count, version.character_count) == (3, 4, 5 + 4 + 5)
    assert (version.progress, version.problem_count) == (version.size, 0)


def test_rows_are_canonical_lines_and_their_hash_is_kept(waiting) -> None:
    version = imported(waiting(a__json='[{"instruction": "i", "output": "o"}]'))
    line = b'{"messages":[{"role":"user","content":"i"},{"role":"assistant","content":"o"}]}'
    assert list(iter_rows(version)) == [line]
    assert version.content_hash == hashlib.sha256(line + b"\n").hexdigest()


def test_a_page_of_rows_starts_where_asked(waiting) -> None:
    rows = [{"prompt": str(number), "response": "r"} for number in range(30)]
    version = imported(waiting(a__jsonl="\n".join(map(json.dumps, rows))))
    assert [row["messages"][0]["content"] for row in page_of_rows(version, 28, 20)] == ["28", "29"]


def test_errors_fail_the_version_but_good_rows_are_kept_beside_them(waiting) -> None:
    version = imported(waiting(a__jsonl=f'{GOOD}\n{{"prompt": "p"\n\n[{{"prompt": "p"}}]\n{GOOD}'))
    assert (version.state, version.row_count) == (VersionState.FAILED, 2)
    assert version.problem_kinds == {"invalid_json": 1, "missing": 1, "duplicate": 1}
    assert [(p["file"], p["line"], p["row"], p["field"]) for p in version.problems] == [
        ("a.jsonl", 2, None, ""), ("a.jsonl", 4, None, "[0].response"), ("a.jsonl", 5, None, ""),
    ]  # fmt: skip
    assert version.problems[1]["excerpt"] == '[{"prompt": "p"}]'


def test_a_warning_does_not_fail_the_version(waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.formats.base.MAX_TURNS", 1)
    turn = {"prompt": "p", "response": "r"}
    version = imported(waiting(a__jsonl=json.dumps([turn] * 3)))
    assert (version.state, version.turn_count) == (VersionState.DRAFT, 1)
    assert version.problems[0]["params"] == {"turns": 3, "limit": 1}


def test_only_the_first_problems_are_kept_but_all_are_counted(
    waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noted, "KEPT_PROBLEMS", 5)
    version = imported(waiting(a__jsonl=f"{GOOD}\n" + "{}\n" * 60))
    assert (len(version.problems), version.problem_count, version.row_count) == (5, 60, 1)


def test_the_chosen_format_beats_the_detected_one(waiting) -> None:
    version = waiting(a__jsonl='{"messages": [], "instruction": "i", "output": "o"}')
    version.format = "alpaca"
    version.save()
    assert imported(version).row_count == 1


def test_unknown_data_are_refused_once(waiting) -> None:
    version = imported(waiting(a__jsonl='{"words": "a"}\n' * 200))
    assert (version.state, version.problem_kinds) == (VersionState.FAILED, {"unknown_format": 1})


def test_a_file_of_another_format_is_refused_once(waiting) -> None:
    version = imported(waiting(a__jsonl=GOOD, b__jsonl='{"instruction": "i", "output": "o"}\n' * 9))
    assert version.problem_kinds == {"other_format": 1}
    assert version.problems[0]["file"] == "b.jsonl"


@pytest.mark.parametrize("content", ["", "\n \n", "[]"])
def test_an_empty_file_is_named(waiting, content: str) -> None:
    assert imported(waiting(a__json=content)).problem_kinds == {"no_rows": 1}


def test_a_lost_file_is_named(waiting) -> None:
    version = waiting(a__jsonl=GOOD)
    default_storage.delete(version.files.get().path)
    assert imported(version).problem_kinds == {"file_missing": 1}


def test_characters_the_database_cannot_hold_are_no_crash(waiting) -> None:
    bad = '[{"prompt": "a", "response": "\\ud800"}]\n{"\\u0000\\ud800": 1, "\\u0000\\ud800": 2}\n'
    version = imported(waiting(a__jsonl=f"{GOOD}\n{bad}"))
    assert version.problem_kinds == {"surrogate": 1, "duplicate_key": 1}


def test_an_imported_version_is_not_imported_again(waiting) -> None:
    version = imported(waiting(a__jsonl=GOOD))
    assert not run_import(version.pk)
    assert stored_rows(version) == ["rows-1.parquet"]


def test_a_version_with_a_fresh_heartbeat_belongs_to_somebody(waiting) -> None:
    version = waiting(a__jsonl=GOOD)
    DatasetVersion.objects.update(import_heartbeat_at=timezone.now())
    assert not run_import(version.pk)
    assert stale_imports() == []


def test_a_dead_workers_import_is_taken_over_without_doubling(waiting) -> None:
    version = waiting(a__jsonl=f"{GOOD}\n{GOOD}")
    # It died after it had stored its rows.
    default_storage.save(f"datasets/{version.uid}/rows-7.parquet", ContentFile(b"{}"))
    DatasetVersion.objects.update(
        import_attempt=7, import_heartbeat_at=timezone.now() - timedelta(seconds=31)
    )
    assert stale_imports() == [version.pk]
    assert (imported(version).row_count, stored_rows(version)) == (2, ["rows-8.parquet"])


def test_a_worker_that_lost_its_claim_changes_nothing(waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    version = waiting(a__jsonl=GOOD)
    save = FileSystemStorage.save

    def slow_save(storage: FileSystemStorage, name: str, content: object) -> str:
        # While this worker stores its rows, another one takes over and ends first.
        monkeypatch.setattr(FileSystemStorage, "save", save)
        DatasetVersion.objects.update(import_heartbeat_at=None)
        assert run_import(version.pk)
        return save(storage, name, content)

    monkeypatch.setattr(FileSystemStorage, "save", slow_save)
    assert not run_import(version.pk)
    version.refresh_from_db()
    assert (version.import_attempt, version.rows_path) == (2, f"datasets/{version.uid}/rows-2.parquet")
    assert stored_rows(version) == ["rows-2.parquet"]


def test_progress_is_saved_while_it_reads(waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "PROGRESS_SECONDS", -1)
    seen = []
    report = imports._report
    monkeypatch.setattr(imports, "_report", lambda version, done: (seen.append(done), report(version, done)))
    version = imported(waiting(a__jsonl=f"{GOOD}\n{GOOD}\n"))
    half = len(GOOD.encode()) + 1
    assert seen == [half, 2 * half, version.size]


def test_a_failure_of_the_server_is_told_and_can_be_repeated(
    waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = waiting(a__jsonl=GOOD)
    monkeypatch.setattr(results, "cut", lambda row: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_import(version.pk)
    version.refresh_from_db()
    assert (version.state, version.problem_kinds) == (VersionState.FAILED, {"unexpected": 1})


def test_a_full_disk_is_named_and_room_is_all_it_takes(waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    version = waiting(a__jsonl=GOOD)

    def full(version):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(imports, "_carry_out", full)
        run_import(version.pk)
    version.refresh_from_db()
    assert (version.state, version.problem_kinds) == (VersionState.FAILED, {"disk_full": 1})
    publishing.repeat_import(version)
    assert imported(version).state == VersionState.DRAFT


def test_an_empty_reply_is_only_warned_of(imported) -> None:
    """Alpaca's English data have some."""
    record = {"instruction": "i", "input": "", "output": ""}
    version = imported({"a.json": json.dumps([{**record, "output": "o"}, record]).encode()})
    assert (version.state, version.row_count) == (VersionState.DRAFT, 2)
    assert version.problem_kinds == version.statistics["flags"] == {"empty_reply": 1}


def test_an_import_that_takes_its_workers_with_it_is_given_up(
    waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is killed leaves its heartbeat; without an end the next one would be, for ever."""
    version = waiting(a__jsonl=GOOD)

    def killed(version: DatasetVersion) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(imports, "_carry_out", killed)
    for _worker in range(imports.MAX_LOSSES + 1):
        with pytest.raises(KeyboardInterrupt):
            run_import(version.pk)
        DatasetVersion.objects.update(import_heartbeat_at=timezone.now() - timedelta(minutes=1))
    version = imported(version)
    assert (version.state, version.problem_kinds) == (VersionState.FAILED, {"worker_lost": 1})


def test_the_progress_of_a_lost_worker_stays_while_it_is_taken_over(waiting) -> None:
    version = waiting(a__jsonl=GOOD)
    for saved, progress in (({}, 0), ({"layout": 1}, 20)):
        DatasetVersion.objects.update(progress=20, import_saved=saved, import_heartbeat_at=None)
        imports.claim(version.pk)
        version.refresh_from_db()
        assert version.progress == progress


def test_workers_that_got_further_are_not_counted_as_lost(waiting) -> None:
    version = waiting(a__jsonl=GOOD)
    DatasetVersion.objects.update(import_losses=imports.MAX_LOSSES)
    claimed = imports.claim(version.pk)
    assert claimed and claimed.import_losses == 0
