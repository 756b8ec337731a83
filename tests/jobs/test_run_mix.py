"""The data table of a run's page."""

import pytest
from django.urls import reverse
from django.utils import translation

from datasets.models import SharedData, SharedKind
from jobs.models import RunSource, RunState
from jobs.run_data import mix_report, write_data
from jobs.run_files import run_directory
from jobs.run_mix import data_rows, data_totals


@pytest.fixture
def run(make_run, make_version):
    """Two sources, a corpus, and all rows of a base run; not started yet."""
    base = make_run(RunState.DONE)
    RunSource.objects.create(run=base, version=make_version(10, name="before"))
    corpus = SharedData.objects.create(
        kind=SharedKind.CORPUS, name_zh="语料", name_en="Corpus", version=make_version(60, name="corpus")
    )
    fields = {"corpus": corpus, "corpus_ratio": 0.2, "base_run": base, "base_mix": 100, "split_ratio": 20}
    run = make_run(RunState.WAITING, **fields)
    for name, rate in (("a", 1), ("b", 2.5)):
        RunSource.objects.create(run=run, version=make_version(100, name=name), sampling_rate=rate)
    return run


def test_before_the_start_it_shows_the_plan(run):
    shown = [(row.label, row.available, row.rate, row.trained, row.held_out) for row in data_rows(run)]
    assert shown == [
        ("a V1", 100, "1", 80, 20),
        ("b V1", 100, "2.5", 200, 20),
        ("Corpus", 60, "", 56, 0),
        ("support bot V1", None, "", 10, 0),
    ]


def test_afterwards_it_shows_what_was_written(run):
    run_directory(run).mkdir(parents=True)
    write_data(run, run_directory(run))
    run.summary = mix_report(run_directory(run))
    rows = data_rows(run)
    assert [bool(row.uid) for row in rows] == [True, True, False, False]
    # a and b hold the same 100 rows: 20 of them are held out of both.
    assert [(row.trained, row.held_out) for row in rows[:2]] == [(80, 20), (200, 20)]
    train = (run_directory(run) / "data" / "train.jsonl").read_text().splitlines()
    with translation.override("zh-hans"):
        assert data_rows(run)[2].label == "语料"
    assert data_totals(rows) == {"trained": len(train), "held_out": 40}


def test_the_page_names_base_run_corpus_and_hashes(client_of, bob, run):
    run.summary = {"mix": [], "data_sha256": {"train": "ab" * 32, "eval": None}}
    run.save()
    page = client_of(bob).get(reverse("jobs:run", args=[run.uid])).text
    assert reverse("jobs:run", args=[run.base_run.uid]) in page
    assert "ab" * 32 in page


def test_a_preset_dataset_is_named_as_the_operator_names_it_and_not_linked(
    client_of, bob, charlie, make_run, make_version
):
    """Its dataset lies in a workspace that readers of the run cannot open, and has a name for the operator alone."""
    versions = [make_version(150, name="preset", workspace=charlie.workspaces.get()) for _part in range(2)]
    for version, name in zip(versions, ("Everyday questions", "Hard questions"), strict=True):
        SharedData.objects.create(kind=SharedKind.PRESET, name_zh="预置", name_en=name, version=version)
    run = make_run(test_version=versions[1])
    RunSource.objects.create(run=run, version=versions[0])
    page = client_of(bob).get(reverse("jobs:run", args=[run.uid])).text
    compared = client_of(bob).get(reverse("jobs:compare"), {"run": [run.uid, make_run().uid]}).text
    for text in (page, compared):
        assert "Everyday questions" in text and "Hard questions" in text and "preset V" not in text
    assert not any(reverse("datasets:version", args=[version.uid]) in page for version in versions)
