"""Counting tokens: claimed once, restartable, estimated from a sample where a version is large."""

import json
import sys
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from catalog.models import BaseModel, ModelFamily, WeightsKind
from datasets import tokens
from datasets.columns import Writer
from datasets.models import CountState, TokenCount, VersionState


@pytest.fixture
def waiting_count(version, tmp_path) -> TokenCount:
    """A count of 10 rows of 1-10 words that nobody has begun."""
    buffer = BytesIO()
    with Writer(buffer) as writer:
        for words in range(1, 11):
            row = {
                "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "w " * words}]
            }
            writer.add(json.dumps(row).encode(), 1, 10)
    version.rows_path = default_storage.save("rows", ContentFile(buffer.getvalue()))
    version.row_count, version.character_count, version.state = 10, 100, VersionState.DRAFT
    version.content_hash = "ab"
    version.save()
    (tmp_path / "tokenizer.json").write_text("{}")
    family = ModelFamily.objects.create(key="tiny", name="Tiny", model_type="text2text")
    base_model = BaseModel.objects.create(
        family=family,
        name="Tiny-1",
        context_length=8,
        weights_kind=WeightsKind.DIRECTORY,
        weights_location=str(tmp_path),
    )
    return TokenCount.objects.create(version=version, base_model=base_model)


@pytest.fixture
def words_are_tokens(monkeypatch, tmp_path) -> None:
    """A quick stand-in for the tokenizer's process: it counts words, and answers as that one does."""
    script = tmp_path / "count.py"
    script.write_text(
        "import sys, json\n"
        "for line in sys.stdin:\n"
        "    n = len(json.loads(line)['messages'][1]['content'].split())\n"
        "    print('-' if n == 3 else f'{n} {n}')\n"
    )
    real = tokens.subprocess.Popen
    monkeypatch.setattr(
        tokens.subprocess, "Popen", lambda command, **rest: real([sys.executable, str(script)], **rest)
    )


def test_a_count_says_what_each_length_cuts(waiting_count, words_are_tokens) -> None:
    assert tokens.run_count(waiting_count.pk)
    waiting_count.refresh_from_db()
    assert waiting_count.state == CountState.DONE
    assert waiting_count.figures["cut"] == {"8": 2}
    assert (waiting_count.figures["rows"], waiting_count.figures["refused"]) == (9, 1)
    # 52 tokens in nine rows; the refused row is taken to be as long as the others.
    assert waiting_count.total == round(52 * 10 / 9)
    version, base_model = waiting_count.version, waiting_count.base_model
    assert tokens.tokens_per_character([version], base_model)[version] == pytest.approx(0.58)


def test_a_large_version_is_judged_by_a_sample(waiting_count, words_are_tokens, monkeypatch) -> None:
    monkeypatch.setattr(tokens, "SAMPLE_ROWS", 5)
    monkeypatch.setattr(tokens, "COPIED_ROWS", 2)
    tokens.run_count(waiting_count.pk)
    waiting_count.refresh_from_db()
    assert waiting_count.figures["rows"] + waiting_count.figures["refused"] == 5
    assert waiting_count.total > sum(range(1, 6))


def test_a_count_that_somebody_works_on_is_left_alone(waiting_count) -> None:
    TokenCount.objects.update(state=CountState.COUNTING, heartbeat_at=timezone.now())
    assert tokens.stale_counts() == []
    assert not tokens.run_count(waiting_count.pk)


def test_a_count_whose_worker_died_is_taken_up(waiting_count, words_are_tokens) -> None:
    long_ago = timezone.now() - timedelta(seconds=tokens.STALE_SECONDS + 1)
    TokenCount.objects.update(state=CountState.COUNTING, heartbeat_at=long_ago, rows_done=7)
    assert tokens.stale_counts() == [waiting_count.pk]
    assert tokens.run_count(waiting_count.pk)
    waiting_count.refresh_from_db()
    assert (waiting_count.state, waiting_count.rows_done) == (CountState.DONE, 10)


def test_a_worker_that_lost_its_claim_changes_nothing(waiting_count, monkeypatch) -> None:
    def lose(claim, *_rest):
        TokenCount.objects.update(heartbeat_at=timezone.now())
        return [1], 1, 0

    monkeypatch.setattr(tokens, "_counted", lose)
    assert not tokens.run_count(waiting_count.pk)
    waiting_count.refresh_from_db()
    assert waiting_count.state == CountState.COUNTING


@pytest.mark.parametrize("lost", ["tokenizer", "rows"])
def test_what_is_missing_is_told(waiting_count, lost) -> None:
    if lost == "rows":
        default_storage.delete(waiting_count.version.rows_path)
    else:
        Path(waiting_count.base_model.weights_location, "tokenizer.json").unlink()
    tokens.run_count(waiting_count.pk)
    waiting_count.refresh_from_db()
    assert (waiting_count.state, waiting_count.problem) == (
        CountState.FAILED,
        {"rows": "rows_lost", "tokenizer": "tokenizer_missing"}[lost],
    )


def test_a_count_of_rows_that_changed_since_does_not_count(waiting_count, words_are_tokens) -> None:
    tokens.run_count(waiting_count.pk)
    waiting_count.version.content_hash = "other"
    assert tokens.count_of(waiting_count.version, waiting_count.base_model) is None
    version, base_model = waiting_count.version, waiting_count.base_model
    assert tokens.tokens_per_character([version], base_model).get(version) is None


def test_only_the_tokenizers_process_loads_the_training_libraries(waiting_count, words_are_tokens) -> None:
    before = {"torch", "transformers"} & set(sys.modules)
    tokens.run_count(waiting_count.pk)
    assert {"torch", "transformers"} & set(sys.modules) == before
