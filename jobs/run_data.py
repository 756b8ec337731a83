"""The data of a run, from the versions in the storage to the files that the trainer reads.

data/train.jsonl and data/eval.jsonl hold canonical rows, data/images/ the pictures that they name; data/mix.json
says what they are made of.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from datasets.columns import digest
from datasets.connections import ConnectionFailed
from datasets.locations import DataChanged, require_unchanged
from datasets.mixing import TEST_ROWS, corpus_rows, draw, hold_out, mixed_rows, plan
from datasets.models import DatasetVersion, RowType
from datasets.pictures import copy_pictures
from datasets.rows import iter_rows
from jobs.mix import Kind, data_rules, mixes_base, sources_of
from jobs.models import Run
from jobs.run_files import run_directory
from jobs.training.parameters import PARAMETERS

PICTURE_ROWS = (RowType.IMAGE_CAPTION, RowType.IMAGE_MESSAGES)
Home = DatasetVersion | Path
MIX_FILE = "mix.json"


@dataclass(frozen=True)
class Origin:
    """Where rows come from: a version's uid or a word of jobs.mix.Kind, a name for people, how many there are."""

    source: str
    label: str
    available: int


@dataclass(frozen=True)
class MixedRow:
    """One row of the mix: its canonical line, whether it belongs to the test set, and where its picture lies: with
    a version in the storage, or in the data directory of the base run."""

    origin: Origin
    line: bytes
    is_test: bool
    home: Home


Drawn = tuple[Origin, bytes, Home]
Pictures = defaultdict[Home, set[str]]


class DataUnavailable(Exception):
    """Data in place cannot be had as they were counted; `code` and `params` go into the run's failure."""

    def __init__(self, code: str, message: str, **params: str) -> None:
        super().__init__(message)
        self.code, self.message, self.params = code, message, params


class PictureRow(msgspec.Struct):
    """What the rows of pictures have in common."""

    image: str


def write_data(run: Run, directory: Path) -> Path:
    """Writes the run's data directory unless it is there, whole or not at all, and returns it.

    Raises DataUnavailable, and FileNotFoundError where the storage has lost something.
    """
    data = directory / "data"
    if data.exists():
        return data
    try:
        for version in _versions_of(run):
            require_unchanged(version)
        return _write_whole(run, directory, data)
    except DataChanged as changed:
        raise DataUnavailable(
            "data_changed",
            f"The data of {changed.version} have changed in the bucket since they were counted.",
            version=str(changed.version),
        ) from changed
    except ConnectionFailed as failed:
        raise DataUnavailable(
            "data_unreachable", f"The data could not be read: {failed}", reason=str(failed)
        ) from failed


def _versions_of(run: Run) -> list[DatasetVersion]:
    """The dataset versions that a run reads by itself."""
    versions = [source.version for source in sources_of(run)]
    versions += [run.test_version] if run.test_version else []
    return versions + ([run.corpus.version] if run.corpus else [])


def _write_whole(run: Run, directory: Path, data: Path) -> Path:
    unfinished = directory / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    with (unfinished / "train.jsonl").open("wb") as train, (unfinished / "eval.jsonl").open("wb") as test:
        pictures: Pictures | None = None
        if data_rules(run).row_type in PICTURE_ROWS:
            pictures = defaultdict(set)
        report = _write(rows_of(run), train, test, pictures)
    for home, names in (pictures or {}).items():
        _copy_pictures(home, names, unfinished / "images")
    (unfinished / MIX_FILE).write_bytes(msgspec.json.encode(report))
    unfinished.rename(data)
    return data


def mix_report(directory: Path) -> dict[str, Any]:
    """What went into the data of a run directory, for `Run.summary`.

    {"mix": [{"source", "label", "rows_available", "rows_trained", "rows_held_out"}, …],
     "data_sha256": {"train": …, "eval": … or None}}
    """
    path = directory / "data" / MIX_FILE
    return msgspec.json.decode(path.read_bytes()) if path.exists() else {}


def _write(
    rows: Iterable[MixedRow], train: IO[bytes], test: IO[bytes], pictures: Pictures | None
) -> dict[str, Any]:
    """Writes the rows and returns the report; puts the names of their pictures into `pictures`."""
    decoder = msgspec.json.Decoder(PictureRow)
    counts: dict[Origin, list[int]] = {}
    hashes = (sha256(), sha256())
    for row in rows:
        line = row.line.rstrip(b"\n") + b"\n"
        (test if row.is_test else train).write(line)
        hashes[row.is_test].update(line)
        counts.setdefault(row.origin, [0, 0])[row.is_test] += 1
        if pictures is not None:
            pictures[row.home].add(decoder.decode(line).image)
    mix = [
        {
            "source": origin.source,
            "label": origin.label,
            "rows_available": origin.available,
            "rows_trained": trained,
            "rows_held_out": held_out,
        }
        for origin, (trained, held_out) in counts.items()
    ]
    has_test = any(item["rows_held_out"] for item in mix)
    return {
        "mix": mix,
        "data_sha256": {
            "train": hashes[0].hexdigest(),
            "eval": hashes[1].hexdigest() if has_test else None,
        },
    }


def _copy_pictures(home: Home, names: set[str], directory: Path) -> None:
    """Puts pictures beside the rows that name them (images/…); raises FileNotFoundError where one is lost."""
    if isinstance(home, DatasetVersion):
        copy_pictures(home, names, directory)
        return
    directory.mkdir(exist_ok=True)
    for name in names:
        target = directory / Path(name).name
        if not target.exists():
            shutil.copyfile(home / "images" / target.name, target)


def rows_of(run: Run) -> Iterator[MixedRow]:
    """Everything that a run reads, in the order in which it is written: its sources, the general corpus, the
    base run's rows, the chosen test set. The same run gives the same rows every time.

    No line is in both sets. A line that is held out is left out of corpus and base rows, and a line that is
    trained on is left out of a test set that was chosen.
    """
    rules = data_rules(run)
    seed = int(run.hyperparameters.get("seed", PARAMETERS["seed"].default))
    split = 0.0 if run.test_version else run.split_ratio
    parts = plan(sources_of(run), split, rules.most_rows, rules.most_held_out)
    held_out = hold_out(parts, seed)
    # Of a test set that was chosen, and of them those that are trained on.
    tested = _tested(run)
    trained: set[int] = set()

    def noted(origin: Origin, line: bytes, home: Home) -> MixedRow:
        if tested and (of_line := digest(line)) in tested:
            trained.add(of_line)
        return MixedRow(origin, line, False, home)

    own = 0
    for part, numbers in zip(parts, held_out.rows, strict=True):
        version = part.source.version
        origin = Origin(version.uid, str(version), version.row_count)
        for line, is_test in mixed_rows(part, numbers, seed):
            own += not is_test
            yield MixedRow(origin, line, True, version) if is_test else noted(origin, line, version)
    for origin, line, home in _corpus_rows(run, own, held_out.digests, seed):
        yield noted(origin, line, home)
    for origin, line, home in _base_rows(run, held_out.digests, seed):
        yield noted(origin, line, home)
    if run.test_version:
        version = run.test_version
        origin = Origin(version.uid, str(version), version.row_count)
        for line in islice(iter_rows(version), TEST_ROWS):
            if digest(line) not in trained:
                yield MixedRow(origin, line, True, version)


def _tested(run: Run) -> set[int]:
    """The digests of the lines of a chosen test set."""
    if run.test_version is None:
        return set()
    return set(map(digest, islice(iter_rows(run.test_version), TEST_ROWS)))


def training_lines(run: Run) -> Iterator[tuple[bytes, Home]]:
    """The rows that a run trained on, and where their pictures lie: from its file, or drawn once more where that
    is gone."""
    data = run_directory(run) / "data"
    if (data / "train.jsonl").exists():
        with (data / "train.jsonl").open("rb") as file:
            for line in file:
                yield line.rstrip(b"\n"), data
    else:
        yield from ((row.line, row.home) for row in rows_of(run) if not row.is_test)


def _corpus_rows(run: Run, own: int, held_out: set[int], seed: int) -> Iterator[Drawn]:
    """Rows of the general corpus, drawn without repetition, for `own` rows of own data."""
    if run.corpus is None:
        return
    version = run.corpus.version
    origin = Origin(Kind.CORPUS, str(run.corpus), version.row_count)
    wanted = corpus_rows(own, run.corpus_ratio, version.row_count)
    chosen = draw(version.row_count, wanted, f"{seed}:{version.uid}:corpus")
    for line, is_chosen in zip(iter_rows(version), chosen, strict=True):
        if is_chosen and digest(line) not in held_out:
            yield origin, line, version


def _base_rows(run: Run, held_out: set[int], seed: int) -> Iterator[Drawn]:
    """The share of the base run's training rows that is trained on again."""
    base = run.base_run
    if base is None or not run.base_mix or not mixes_base(run):
        return
    is_usable = np.fromiter((digest(line) not in held_out for line, _home in training_lines(base)), bool)
    rows = len(is_usable)
    origin = Origin(Kind.BASE_RUN, str(base), rows)
    usable = np.flatnonzero(is_usable)
    picked = draw(len(usable), round(rows * run.base_mix / 100), f"{seed}:{base.uid}:base")
    is_picked = np.zeros(rows, bool)
    is_picked[usable[picked]] = True
    for (line, home), taken in zip(training_lines(base), is_picked, strict=True):
        if taken:
            yield origin, line, home
