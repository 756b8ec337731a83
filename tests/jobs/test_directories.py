"""A run's directory on the machine that lost the run, and on the one that took it over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from jobs import directories, lifecycle, progress, publishing
from jobs.lifecycle import LeaseLost
from jobs.models import Checkpoint, Metric, Publication, Run, RunState
from jobs.run_files import run_directory


@pytest.fixture
def run(make_run):
    """Claimed, and trained for a while where its files are."""
    make_run()
    run = lifecycle.claim_next(lifecycle.follower_name())
    directories.adopt(run)
    Metric.objects.create(run=run, key="loss", step=3, value=1.0)
    Checkpoint.objects.create(
        run=run, step=3, path="checkpoints/checkpoint-3", size=1, created_at=timezone.now()
    )
    Run.objects.filter(pk=run.pk).update(events_offset=500, step=3)
    run.refresh_from_db()
    return run


def test_a_worker_that_comes_back_to_the_same_directory_reads_on(run):
    directories.adopt(run)
    assert (run.events_offset, run.step, run.metrics.count()) == (500, 3, 1)


def test_a_machine_without_the_files_begins_anew(run, settings, tmp_path):
    settings.RUNS_DIR = tmp_path / "another machine"
    directories.adopt(run)
    run.refresh_from_db()
    assert (run.events_offset, run.step, run.metrics.count(), run.checkpoints.count()) == (0, 0, 0, 0)
    assert run.timeline.filter(kind="began_anew").exists()
    assert directories.is_here(run)


def test_what_a_machine_kept_of_a_run_that_was_given_away_is_not_gone_on_with(run, settings, tmp_path):
    first = settings.RUNS_DIR
    settings.RUNS_DIR = tmp_path / "another machine"
    directories.adopt(run)
    settings.RUNS_DIR = first
    (run_directory(run) / "events.jsonl").write_text("of the first machine\n")
    assert not directories.is_here(run)
    directories.adopt(run)
    assert list(run_directory(run).iterdir()) == [run_directory(run) / directories.MARK_NAME]


def test_whoever_lost_the_run_does_not_make_its_directory_count(run, settings, tmp_path):
    mark = run.directory_mark
    Run.objects.filter(pk=run.pk).update(lease=run.lease + 1)
    settings.RUNS_DIR = tmp_path / "another machine"
    with pytest.raises(LeaseLost):
        directories.adopt(run)
    assert Run.objects.get(pk=run.pk).directory_mark == mark


def test_a_trainer_that_wakes_up_after_the_next_one_has_begun_is_not_listened_to(run):
    common = {"time": "2026-01-01T00:00:00.000Z"}
    Run.objects.filter(pk=run.pk).update(summary={"attempt": 2})
    late = {"type": "metrics", "attempt": 1, "step": 3, "values": {"loss": 9.0}}
    assert progress.store(run, [common | late, common | {"type": "done", "attempt": 1}], 600) is None
    assert (run.metrics.get(step=3).value, run.events_offset) == (1.0, 600)


@pytest.mark.parametrize(("days", "publication"), [(0, Publication.PENDING), (2, Publication.SKIPPED)])
def test_a_finished_run_waits_for_the_machine_that_has_its_output(run, settings, tmp_path, days, publication):
    settings.RUNS_DIR = tmp_path / "another machine"
    finished_at = timezone.now() - timedelta(days=days)
    fields = {"publication": Publication.PENDING, "publish_name": "assistant", "finished_at": finished_at}
    Run.objects.filter(pk=run.pk).update(state=RunState.DONE, **fields)
    assert publishing.publish(run.pk) is None
    run.refresh_from_db()
    assert run.publication == publication
