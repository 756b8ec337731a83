"""The problems of a version, in the list that the database keeps and in the file of all: which are listed, and how
some of them go and others come."""

from __future__ import annotations

import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from django.core.files import File
from django.core.files.storage import default_storage

from datasets.models import DatasetVersion
from datasets.problems import ERROR, KINDS, Problem, every

# The first problems are listed on the page. Of a kind that only warns fewer are, so that they leave room for errors.
KEPT_PROBLEMS = 1000
KEPT_WARNINGS = 100


class Shown:
    """Tells which problems are listed."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def takes(self, kind: str) -> bool:
        """Counts one more of a kind; True if it belongs to the list."""
        is_error = KINDS[kind].level == ERROR
        group, limit = (ERROR, KEPT_PROBLEMS) if is_error else (kind, KEPT_WARNINGS)
        self._counts[group] += 1
        return self._counts[group] <= limit


def first_of(problems: Iterable[Problem], shown: Shown) -> list[Problem]:
    """Those of all problems that are listed, without their records."""
    first = []
    for problem in problems:
        if shown.takes(problem["kind"]):
            problem.pop("record", None)
            first.append(problem)
    return first


class Left(NamedTuple):
    """The first problems, for the database; the file of all ("" without one; a new one if some went or came); how many
    went, by kind."""

    problems: list[Problem]
    path: str
    gone: Counter[str]


def without(version: DatasetVersion, goes: Callable[[Problem], bool], more: Sequence[Problem] = ()) -> Left:
    """The problems for which `goes` is false, and behind them `more`. The version itself and its old file stay as they
    are."""
    old, gone = version.problems_path, Counter[str]()
    kept = bool(old) and default_storage.exists(old)
    with tempfile.TemporaryFile() as copy:

        def left() -> Iterator[Problem]:
            for problem in every(version) if kept else version.problems:
                if goes(problem):
                    gone[problem["kind"]] += 1
                else:
                    yield problem
            yield from more

        def copied() -> Iterator[Problem]:
            for problem in left():
                copy.write(msgspec.json.encode(problem) + b"\n")
                yield problem

        first = first_of(copied(), Shown())
        if not gone and not more:
            return Left(version.problems, old, gone)
        if not kept:
            return Left(first, old, gone)
        if not copy.tell():
            return Left([], "", gone)
        copy.seek(0)
        path = f"datasets/{version.uid}/problems-{version.import_attempt}-{secrets.token_hex(4)}.jsonl"
        return Left(first, default_storage.save(path, File(copy)), gone)
