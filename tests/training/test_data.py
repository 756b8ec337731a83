"""Rows to tokens: the loss is on the replies and nowhere else, and long rows keep their reply."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import pytest

from jobs.training import token_cache
from jobs.training.chat import NEUTRAL_TEMPLATE, encode, renderings, tokenise
from jobs.training.data import prepare, shorten
from jobs.training.events import TrainingFailure
from jobs.training.rows import IGNORED, Message, Prepared, read_rows
from tests.training.runs import ROWS, conversation

# A template that closes no turn with a special token, as ChatGLM's: the next turn's mark ends a reply.
OPEN_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
# Drops the thoughts of earlier replies, as reasoning models do.
FORGETFUL_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}"
    "{{ m['content'] if loop.last else m['content'].split('</think>')[-1] }}"
    "{{ eos_token if m['role'] == 'assistant' else '' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
NO_SYSTEM_TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{{ '<|' + m['role'] + '|>' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@pytest.fixture
def tokenizer(models: Path):
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(models / "llama")


def messages(row: dict) -> list[Message]:
    return [Message(**message) for message in row["messages"]]


def by_hand(tokenizer, row: dict) -> tuple[list[int], list[int]]:
    """Ids and labels of our tiny template, put together turn by turn: special tokens part the turns."""
    ids, labels = [tokenizer.bos_token_id], [IGNORED]
    for message in row["messages"]:
        mark = tokenizer.convert_tokens_to_ids(f"<|{message['role']}|>")
        content = tokenizer(message["content"], add_special_tokens=False)["input_ids"]
        is_reply = message["role"] == "assistant"
        content += [tokenizer.eos_token_id] if is_reply else []
        ids += [mark, *content]
        is_trained = is_reply and message.get("weight", 1) == 1
        labels += [IGNORED, *(content if is_trained else [IGNORED] * len(content))]
    return ids, labels


def trained_texts(tokenizer, tokens) -> list[str]:
    """The runs of tokens in the loss, as text."""
    runs: list[list[int]] = [[]]
    for label in tokens.labels:
        if label == IGNORED:
            runs.append([])
        else:
            runs[-1].append(label)
    return [tokenizer.decode(ids) for ids in runs if ids]


def test_labels_equal_an_independent_computation(tokenizer):
    rng = random.Random(7)
    words = ["red", "红色", "river", "été", "🙂", "\n\n", "a", "", "b"]
    for _ in range(50):
        turns = [" ".join(rng.choices(words, k=rng.randint(1, 9))) for _ in range(2 * rng.randint(1, 5))]
        weights = {index: rng.randint(0, 1) for index in range(1, len(turns) - 2, 2)}
        row = conversation(*turns, system=rng.choice(["", "Be brief."]), weights=weights)
        tokens = encode(tokenizer, [messages(row)])[0]
        assert (list(tokens.input_ids), list(tokens.labels)) == by_hand(tokenizer, row)


def test_neutral_template_trains_every_reply_with_its_end(tokenizer):
    tokenizer.chat_template = NEUTRAL_TEMPLATE
    row = conversation("Hi", "Hello.", "Bye", "See you.", system="Be kind.")
    tokens = encode(tokenizer, [messages(row)])[0]
    assert trained_texts(tokenizer, tokens) == ["Hello.</s>", "See you.</s>"]


def test_last_reply_gets_an_end_where_the_template_gives_none(tokenizer):
    tokenizer.chat_template = OPEN_TEMPLATE
    tokens = encode(tokenizer, [messages(conversation("Hi", "Hello.", "Bye", "See you."))])[0]
    assert trained_texts(tokenizer, tokens) == ["Hello.", "See you.</s>"]


def test_template_that_rewrites_earlier_turns_gives_one_row_per_reply(tokenizer):
    tokenizer.chat_template = FORGETFUL_TEMPLATE
    prepared = Prepared()
    row = conversation("Hi", "hm</think>Hello.", "Bye", "so</think>See you.")
    variants = renderings(tokenizer, messages(row), prepared)
    texts = [
        trained_texts(tokenizer, tokens) for tokens in tokenise(tokenizer, [text for _, text in variants])
    ]
    assert texts == [["hm</think>Hello.</s>"], ["so</think>See you.</s>"]]
    assert prepared.split_rows == 1


def test_system_text_moves_where_the_template_has_no_system_role(tokenizer):
    tokenizer.chat_template = NO_SYSTEM_TEMPLATE
    prepared = Prepared()
    row = conversation("Hi", "Hello.", system="Be kind.")
    ((variant, _),) = renderings(tokenizer, messages(row), prepared)
    assert variant[0].content == "Be kind.\n\nHi"
    assert prepared.system_merged == 1


def test_long_conversation_loses_its_oldest_turns_first(tokenizer):
    row = conversation(
        *(f"{name} {number}" for number in range(10) for name in ("Ask", "Answer")), system="Short."
    )
    whole = encode(tokenizer, [messages(row)])[0]
    tokens = shorten(tokenizer, messages(row), len(whole) // 2)
    text = tokenizer.decode(list(tokens.input_ids))
    assert len(tokens) <= len(whole) // 2
    assert text.startswith("<s><|system|>Short.<|user|>")
    assert "Answer 9" in text and "Ask 0" not in text
    assert len(tokens) > len(whole) // 2 - 20, "more turns left out than needed"


@pytest.mark.parametrize("length", [16, 24, 40])
def test_long_turn_never_loses_its_reply(tokenizer, length):
    long_prompt = conversation("word " * 100, "The reply.")
    tokens = shorten(tokenizer, messages(long_prompt), length)
    assert trained_texts(tokenizer, tokens) == ["The reply.</s>"]
    assert len(tokens) <= length
    both = shorten(tokenizer, messages(conversation("word " * 100, "reply " * 100)), length)
    assert len(both) == length
    assert both.trained() == length - length // 4


def test_pseudo_sampling_joins_the_asked_share_with_a_seed(tokenizer, tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    half = prepare(path, tokenizer, 512, join_probability=0.5, seed=1)
    again = prepare(path, tokenizer, 512, join_probability=0.5, seed=1)
    other = prepare(path, tokenizer, 512, join_probability=0.5, seed=2)
    plain = prepare(path, tokenizer, 512)
    assert len(ROWS) // 2 - 1 <= half.joined_rows <= len(ROWS) // 2
    assert half.rows == again.rows != other.rows
    assert half.trained_tokens() == plain.trained_tokens(), "every reply is still there"
    assert max(map(len, half.rows)) <= 512 and len(half.rows) < len(plain.rows)


def test_rows_with_different_system_texts_are_not_joined(tokenizer, tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [conversation("Hi", "Hello.", system=f"You are number {number}.") for number in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert prepare(path, tokenizer, 512, join_probability=1.0).joined_rows == 0


def test_rows_of_a_larger_file_are_tokenised_once(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setenv(token_cache.FOLDER, str(tmp_path / "tokens"))
    monkeypatch.setattr(token_cache, "SMALLEST", 1)
    path = tmp_path / "train.jsonl"
    rows = [*ROWS, conversation("Hi", "Hello.", weights={1: 0}), conversation("word " * 60, "Yes.")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"max_length": 48}, {"max_length": 49}, {"max_length": 48, "join_probability": 0.5, "seed": 1}]
    first = [token_cache.prepare(path, tokenizer, **options) for options in asked]
    assert first == [prepare(path, tokenizer, **options) for options in asked]
    assert first[0].truncated_rows == first[0].dropped_rows == 1
    monkeypatch.setattr(token_cache.data, "prepare", None)  # whoever calls it fails
    assert [token_cache.prepare(path, tokenizer, **options) for options in asked] == first
    tokenizer.chat_template = NEUTRAL_TEMPLATE
    with pytest.raises(TypeError):
        token_cache.prepare(path, tokenizer, 48)


def test_tokenised_rows_that_nobody_uses_go(tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "MOST", 25)
    for name, age in (("new", 0), ("older", 60), ("oldest", 120), ("forgotten", token_cache.LONGEST + 60)):
        entry = tmp_path / f"{name}.arrow"
        entry.write_bytes(b"0123456789")
        os.utime(entry, (time.time() - age, time.time() - age))
    token_cache._tidy(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"new", "older"}


def test_rows_without_weight_are_dropped_and_counted(tokenizer, tmp_path):
    path = tmp_path / "train.jsonl"
    rows = [conversation("Hi", "Hello.", weights={1: 0}), conversation("Hi", "Hello.")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepared = prepare(path, tokenizer, 512)
    assert (len(prepared.rows), prepared.dropped_rows) == (1, 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"messages": [{"role": "user", "content": 5}]}', "Expected `str`"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "robot"),
        ('{"messages": [{"role": "user", "content": "x"}]}', "no assistant turn"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "before the first user turn"),
        ('{"messages": [', "truncated"),
    ],
)
def test_bad_row_is_named_by_file_and_line(tmp_path, line, reason):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(TrainingFailure) as failure:
        list(read_rows(path))
    assert failure.value.code == "data_row_invalid"
    assert failure.value.message.startswith("train.jsonl, line 2 is not")
    assert reason in failure.value.message
