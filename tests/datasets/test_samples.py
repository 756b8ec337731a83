"""The texts that come along: readable by their own format, and the corpus does not repeat the conversations."""

from __future__ import annotations

import json
import re
from pathlib import Path

import datasets
from datasets.formats import FORMATS

SAMPLES = Path(datasets.__file__).parent / "samples"


def records(name: str) -> list[list[dict[str, str]]]:
    return [json.loads(line) for line in (SAMPLES / name).read_text(encoding="utf-8").splitlines()]


def test_the_corpus_is_read_whole():
    rows = [FORMATS["prompt_response"].row(record) for record in records("corpus.jsonl")]
    assert len(rows) >= 220


def test_the_corpus_repeats_neither_itself_nor_the_conversations():
    texts = [
        re.sub(r"\W", "", turn[part].lower())
        for name in ("assistant.jsonl", "corpus.jsonl")
        for record in records(name)
        for turn in (record if name == "corpus.jsonl" else record[:1])
        for part in ("prompt", "response")
    ]
    corpus = texts[-2 * sum(map(len, records("corpus.jsonl"))) :]
    assert len(set(corpus)) == len(corpus)
    assert not set(corpus) & set(texts[: -len(corpus)])


def test_two_thirds_of_the_corpus_are_chinese():
    rows = records("corpus.jsonl")
    chinese = [row for row in rows if re.search("[\u4e00-\u9fff]", row[0]["prompt"])]
    assert 0.6 < len(chinese) / len(rows) < 0.7
