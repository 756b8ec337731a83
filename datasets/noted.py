"""The problems of a version without some of them: in the list that the database keeps, and in the file of all."""

from __future__ import annotations

import secrets
import tempfile
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import msgspec
from django.core.files import File
from django.core.files.storage import default_storage

from datasets.models import DatasetVersion
from datasets.problems import ERROR, KINDS, Problem, every
from datasets.results import KEPT_PROBLEMS, KEPT_WARNINGS


class Left(NamedTuple):
    """The first problems, for the database; the file of all ("" without one; a new one if some went); how many
    went, by kind."""

    problems: list[Problem]
    path: str
    gone: Counter[str]


def without(version: DatasetVersion, goes: Callable[[Problem], bool]) -> Left:
    """The problems for which `goes` is false. The version itself and its old file stay as they are."""
    old, gone = version.problems_path, Counter[str]()
    if not old or not default_storage.exists(old):
        gone.update(problem["kind"] for problem in version.problems if goes(problem))
        return Left([problem for problem in version.problems if not goes(problem)], old, gone)
    first: list[Problem] = []
    noted: Counter[str] = Counter()
    with tempfile.TemporaryFile() as copy:
        for problem in every(version):
            if goes(problem):
                gone[problem["kind"]] += 1
                continue
            copy.write(msgspec.json.encode(problem) + b"\n")
            is_error = KINDS[problem["kind"]].level == ERROR
            group, limit = (ERROR, KEPT_PROBLEMS) if is_error else (problem["kind"], KEPT_WARNINGS)
            noted[group] += 1
            if noted[group] <= limit:
                problem.pop("record", None)
                first.append(problem)
        if not gone:
            return Left(version.problems, old, gone)
        if not copy.tell():
            return Left([], "", gone)
        copy.seek(0)
        path = f"datasets/{version.uid}/problems-{version.import_attempt}-{secrets.token_hex(4)}.jsonl"
        return Left(first, default_storage.save(path, File(copy)), gone)
