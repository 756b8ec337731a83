"""The processes that answer: never two of a model, no more than fit, none left when nobody asks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from catalog import serving
from catalog.serving import NotAnswered, Pool
from jobs.training.serving_protocol import Load, Said, Task, Turn

FAKE = [sys.executable, "-S", str(Path(__file__).with_name("serving_fake.py"))]


@pytest.fixture
def make_pool(monkeypatch):
    monkeypatch.setattr(serving, "PATIENCE", 0.02)
    made = []

    def make(most: int = 2, idle_seconds: float = 600) -> Pool:
        made.append(Pool(most, idle_seconds, FAKE))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def ask(pool: Pool, text: str = "hello", base: str = "a") -> Iterator[Said]:
    load, task = Load("text", base), Task(0, [Turn("user", text)])
    return (said for said in pool.answer(load, task) if said is not None)


def pid_of(answer: Iterator[Said]) -> int:
    return int(next(iter(list(answer))).text)


def test_one_model_is_one_process_and_says_everything(make_pool):
    pool = make_pool()
    said = list(ask(pool, "good day"))
    assert [one.text for one in said[1:-1]] == ["good ", "day "]
    assert (said[-1].type, said[-1].prompt_tokens, said[-1].completion_tokens) == ("done", 2, 3)
    assert pid_of(ask(pool)) == int(said[0].text)


def test_the_least_recently_used_one_makes_room(make_pool):
    pool = make_pool(most=2)
    first, second = pid_of(ask(pool, base="a")), pid_of(ask(pool, base="b"))
    assert pid_of(ask(pool, base="a")) == first
    pid_of(ask(pool, base="c"))
    assert (psutil.pid_exists(first), psutil.pid_exists(second)) == (True, False)


def test_a_model_in_use_is_not_ended_for_another(make_pool, monkeypatch):
    monkeypatch.setattr(serving, "PLACE_SECONDS", 0.1)
    pool = make_pool(most=1)
    answer = ask(pool, "slow " * 50)
    next(answer)
    with pytest.raises(NotAnswered) as caught:
        list(ask(pool, base="b"))
    assert caught.value.code == "busy"


def test_whoever_goes_away_ends_the_answer_and_the_next_one_is_whole(make_pool):
    pool = make_pool()
    answer = pool.answer(Load("text", "a"), Task(0, [Turn("user", "slow " * 1000)]))
    next(said for said in answer if said is not None)
    began = time.monotonic()
    answer.close()
    assert [said.text for said in ask(pool, "next")][1:-1] == ["next "]
    assert time.monotonic() - began < 5  # the thousand words would take 50 seconds


def test_a_crash_is_said_and_the_next_question_starts_anew(make_pool):
    pool = make_pool()
    first = pid_of(ask(pool))
    with pytest.raises(NotAnswered) as caught:
        list(ask(pool, "die"))
    assert caught.value.code == "killed"
    assert pid_of(ask(pool)) != first


def test_what_cannot_be_loaded_says_why(make_pool):
    with pytest.raises(NotAnswered) as caught:
        list(ask(make_pool(), base="broken"))
    assert (caught.value.code, caught.value.params["reason"]) == ("weights_broken", "no")


def test_nobody_asks_and_the_memory_is_free_again(make_pool):
    pool = make_pool(idle_seconds=0.2)
    process = psutil.Process(pid_of(ask(pool)))
    process.wait(5)
    assert not pool.processes
