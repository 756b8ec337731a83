"""The data directory of a run: what is in the two files, what is said about it, the same every time."""

import shutil
from collections import Counter
from hashlib import sha256

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from catalog.models import Offer
from datasets.models import SharedData, SharedKind
from datasets.rows import iter_rows
from jobs.models import Job, RunSource, RunState
from jobs.run_data import mix_report, write_data
from jobs.run_files import run_directory
from tests.rows import store_rows


def reword(version, word: bytes) -> None:
    """Makes the rows of a version unlike those of any other."""
    rows = [line.replace(b"question", word) for line in iter_rows(version)]
    version.rows_path = store_rows("reworded.parquet", rows)
    version.save()


@pytest.fixture
def corpus(make_version):
    version = make_version(50, name="corpus")
    reword(version, b"general question")
    return SharedData.objects.create(
        kind=SharedKind.CORPUS, name_zh="语料", name_en="Corpus", version=version
    )


@pytest.fixture
def run_on(make_run):
    """Returns a function that makes a run on (version, rate) pairs."""

    def make(*sources, **fields):
        run = make_run(RunState.DONE, **fields)
        for version, rate in sources:
            RunSource.objects.create(run=run, version=version, sampling_rate=rate)
        return run

    return make


def written(run) -> tuple[list[str], list[str]]:
    """The lines of train.jsonl and eval.jsonl."""
    directory = run_directory(run)
    directory.mkdir(parents=True, exist_ok=True)
    data = write_data(run, directory)
    return tuple((data / name).read_text().splitlines() for name in ("train.jsonl", "eval.jsonl"))


def counts(run) -> list[tuple]:
    """(source, trained, held out) of the report."""
    report = mix_report(run_directory(run))["mix"]
    return [(item["source"], item["rows_trained"], item["rows_held_out"]) for item in report]


def test_the_report_says_what_is_in_the_files(run_on, make_version, corpus):
    first, second = make_version(100, name="a"), make_version(40, name="b")
    run = run_on((first, 1), (second, 2.5), split_ratio=20, corpus=corpus, corpus_ratio=0.2)
    train, test = written(run)
    # b's rows are the first 40 of a: those that are held out of a are held out of b as well.
    report = mix_report(run_directory(run))
    assert sum(item["rows_trained"] for item in report["mix"]) == len(train)
    assert sum(item["rows_held_out"] for item in report["mix"]) == len(test) > 20
    assert [item["source"] for item in report["mix"]] == [first.uid, second.uid, "corpus"]
    own = sum(trained for source, trained, _held_out in counts(run) if source != "corpus")
    assert counts(run)[-1] == ("corpus", round(own / 5), 0)
    assert not set(train) & set(test)
    assert report["data_sha256"]["train"] == sha256(("\n".join(train) + "\n").encode()).hexdigest()
    assert report["data_sha256"]["eval"] == sha256(("\n".join(test) + "\n").encode()).hexdigest()


def test_the_same_run_writes_the_same_bytes(run_on, make_version, corpus):
    run = run_on((make_version(100), 1.5), split_ratio=10, corpus=corpus, corpus_ratio=0.2)
    first = written(run)
    shutil.rmtree(run_directory(run))
    assert written(run) == first
    shutil.rmtree(run_directory(run))
    run.hyperparameters = {"seed": 7}
    assert written(run) != first


def test_no_row_of_the_corpus_is_written_twice(run_on, make_version, corpus):
    run = run_on((make_version(100), 1), corpus=corpus, corpus_ratio=10)
    train, _test = written(run)
    assert counts(run)[-1] == ("corpus", 50, 0)
    assert max(Counter(train).values()) == 1


def test_rows_of_a_chosen_test_set_that_are_trained_on_are_left_out_of_it(run_on, make_version):
    train, test = make_version(100, name="a"), make_version(130, name="b")
    run = run_on((train, 1), test_version=test)
    assert len(written(run)[1]) == 30
    assert counts(run) == [(train.uid, 100, 0), (test.uid, 0, 30)]


def test_a_test_set_is_1000_rows_at_most(run_on, make_version):
    run = run_on((make_version(5, name="a"), 1), test_version=make_version(1500, name="b"))
    assert len(written(run)[1]) == 995


@pytest.fixture
def base(run_on, make_version):
    """A run on 100 rows of its own, and the lines that it was trained on."""
    version = make_version(100, name="before")
    reword(version, b"earlier question")
    run = run_on((version, 1), split_ratio=20)
    return run, written(run)[0]


@pytest.mark.parametrize(("share", "expected"), [(0, 0), (10, 8), (100, 80)])
def test_a_share_of_the_base_data_is_mixed_in(run_on, make_version, base, share, expected):
    run = run_on((make_version(120), 1), base_run=base[0], base_mix=share)
    train, _test = written(run)
    mixed = [line for line in train if "earlier" in line]
    assert len(mixed) == len(set(mixed)) == expected
    assert set(mixed) <= set(base[1])
    assert ("base_run", expected, 0) in counts(run) or not expected


def test_base_data_that_are_gone_are_drawn_again(run_on, make_version, base):
    run = run_on((make_version(120), 1), base_run=base[0], base_mix=25)
    first = written(run)
    shutil.rmtree(run_directory(run))
    shutil.rmtree(run_directory(base[0]))
    assert written(run) == first


def test_what_is_tested_on_does_not_come_back_with_the_base_data(run_on, base):
    version = base[0].sources.get().version
    run = run_on((version, 1), split_ratio=30, base_run=base[0], base_mix=100)
    train, test = written(run)
    assert len(test) == 30
    assert not set(train) & set(test)


def test_pictures_lie_beside_the_rows(run_on, make_version, base_model):
    version = make_version(2, name="pictures")
    names = ["0123456789abcdef.png", "fedcba9876543210.jpg"]
    rows = [{"image": f"images/{name}", "prompt": "a cat"} for name in names]
    version.rows_path = store_rows("pictures.parquet", rows)
    version.save()
    for name in names:
        default_storage.save(f"datasets/{version.uid}/images/{name}", ContentFile(name.encode()))
    Job.objects.update(model_type="text2image")
    Offer.objects.filter(base_model=base_model).update(method="FullFineTuning")
    first = run_on((version, 1), method="FullFineTuning")
    Job.objects.update(model_type="text2image")
    first.refresh_from_db()
    written(first)
    second = run_on((version, 0.5), base_run=first, base_mix=100)
    second.refresh_from_db()
    written(second)
    for run in (first, second):
        images = run_directory(run) / "data" / "images"
        assert {path.name: path.read_text() for path in images.iterdir()} == {name: name for name in names}
