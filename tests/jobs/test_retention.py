"""Old checkpoints go after the days of the workspace, and nothing goes that is still needed."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.urls import reverse
from django.utils import timezone

from console.deletion import remove_files
from console.models import Deletion
from jobs import retention
from jobs.launch import run_directory
from jobs.models import Checkpoint, Limits, Publication, RunState

DAY = timedelta(days=1)


@pytest.fixture
def policy(workspace) -> Limits:
    return Limits.objects.create(workspace=workspace, checkpoint_days=30)


@pytest.fixture
def make_ended(make_run):
    """Returns a function that makes a run that ended days ago, with two checkpoints on the disk and a result. Its
    people have been warned long since, unless a test says otherwise."""

    def make(days: float, state=RunState.DONE, **fields):
        fields.setdefault("checkpoints_warned_at", timezone.now() - 8 * DAY)
        run = make_run(state, finished_at=timezone.now() - days * DAY, step=20, **fields)
        for step in (10, 20):
            path = f"checkpoints/checkpoint-{step}"
            Checkpoint.objects.create(
                run=run, step=step, path=path, size=1000, created_at=timezone.now() - days * DAY
            )
            (run_directory(run) / path).mkdir(parents=True)
        (run_directory(run) / "output").mkdir()
        return run

    return make


def steps(run) -> list[int]:
    return list(run.checkpoints.values_list("step", flat=True))


def test_old_checkpoints_go_and_the_result_stays(make_ended, policy):
    old, new = make_ended(31), make_ended(29)
    assert retention.delete_old_checkpoints() == 1
    assert (steps(old), steps(new)) == ([], [10, 20])
    record = Deletion.objects.get()
    assert (record.kind, record.uid, record.deleted_by) == ("checkpoints", old.uid, None)
    assert (record.data["steps"], record.data["bytes"]) == ([20, 10], 2000)
    remove_files(record.pk)
    assert [path.name for path in sorted(run_directory(old).rglob("*"))] == ["checkpoints", "output"]
    assert retention.delete_old_checkpoints() == 0


def test_checkpoints_are_kept_for_ever_without_a_policy(make_ended, workspace):
    run = make_ended(4000)
    assert retention.delete_old_checkpoints() == 0
    Limits.objects.create(workspace=workspace, running=1)
    assert retention.delete_old_checkpoints() == 0
    assert steps(run) == [10, 20]
    assert retention.kept_until(run) is None


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.FAILED])
def test_the_newest_checkpoint_of_a_run_without_a_result_stays(make_ended, policy, state):
    run = make_ended(31, state)
    assert [retention.delete_old_checkpoints(), retention.delete_old_checkpoints()] == [1, 0]
    assert steps(run) == [20]


def test_checkpoints_stay_while_an_active_run_builds_on_them(make_ended, make_run, policy):
    base = make_ended(31)
    child = make_run(base_run=base, base_step=10)
    assert retention.delete_old_checkpoints() == 0
    type(child).objects.filter(pk=child.pk).update(state=RunState.DONE, finished_at=timezone.now())
    assert retention.delete_old_checkpoints() == 1


def test_checkpoints_stay_while_a_model_is_published(make_ended, policy):
    run = make_ended(31, publication=Publication.PENDING)
    assert retention.delete_old_checkpoints() == 0
    type(run).objects.filter(pk=run.pk).update(publication=Publication.PUBLISHED)
    assert retention.delete_old_checkpoints() == 1


def test_only_checkpoints_of_runs_can_be_named(workspace, tmp_path):
    outside = settings.RUNS_DIR / "task-a" / "output"
    outside.mkdir(parents=True)
    names = ["task-a/output", "task-a/checkpoints/../output", "task-a/checkpoints/checkpoint-1/.."]
    record = Deletion.objects.create(
        workspace=workspace, kind="checkpoints", uid="task-a", name="a", run_directories=names
    )
    remove_files(record.pk)
    assert outside.exists()


def test_the_page_says_until_when_they_are_kept(make_ended, policy, client_of, alice):
    run = make_ended(10)
    page = client_of(alice).get(reverse("jobs:run", args=[run.uid])).text
    day = timezone.localtime(run.finished_at + 30 * DAY, ZoneInfo(settings.DISPLAY_TIME_ZONE))
    assert f"2 checkpoints are kept until {day:%Y-%m-%d}, then deleted." in page
    assert "notice-warn" not in page


def test_there_is_a_warning_from_seven_days_before(make_ended, policy, client_of, alice):
    run, _later = make_ended(24), make_ended(22)
    client = client_of(alice)
    assert "notice-warn" in client.get(reverse("jobs:run", args=[run.uid])).text
    page = client.get(reverse("jobs:list")).text
    assert "Checkpoints of 1 run are deleted within 7 days." in page
    assert reverse("jobs:run", args=[run.uid]) in page


# --- The warning ---------------------------------------------------------------------------------------------


def test_nothing_goes_before_people_were_warned(make_ended, policy, alice):
    """The policy is new: what is long over stays for as long as a warning takes."""
    run = make_ended(400, checkpoints_warned_at=None)
    assert (retention.delete_old_checkpoints(), retention.warn(), retention.delete_old_checkpoints()) == (
        0,
        1,
        0,
    )
    assert abs(retention.kept_until(type(run).objects.get(pk=run.pk)) - timezone.now() - 7 * DAY) < DAY / 24
    type(run).objects.update(checkpoints_warned_at=timezone.now() - 7 * DAY)
    assert retention.delete_old_checkpoints() == 1
    assert [item.notification.kind for item in alice.receipts.all()] == ["checkpoints.going"]


def test_a_warning_names_the_runs_and_the_first_day_once_a_day(make_ended, policy, alice):
    first, second, later = (make_ended(days, checkpoints_warned_at=None) for days in (24, 23, 10))
    assert (retention.warn(), retention.warn()) == (2, 0)
    item = alice.receipts.get().notification
    day = first.finished_at + 30 * DAY
    assert (
        item.title
        == f"Checkpoints of 2 runs are deleted from {max(day, timezone.now() + 7 * DAY):%Y-%m-%d} on"
    )
    assert str(first) in item.text and str(second) in item.text and str(later) not in item.text
    make_ended(25, checkpoints_warned_at=None)
    assert retention.warn() == 0, "tomorrow"
    item.key = "yesterday"
    item.save()
    assert retention.warn() == 1


def test_a_warning_that_does_not_hold_any_more_is_forgotten(make_ended, policy):
    run = make_ended(25)
    policy.checkpoint_days = 90
    policy.save()
    retention.warn()
    run.refresh_from_db()
    assert run.checkpoints_warned_at is None
    type(run).objects.update(checkpoints_warned_at=timezone.now())
    policy.delete()
    retention.warn()
    run.refresh_from_db()
    assert run.checkpoints_warned_at is None


@pytest.mark.parametrize(("days", "notice"), [(1, 0.5), (10, 5), (14, 7), (365, 7)])
def test_the_time_of_the_warning(days, notice):
    assert retention.notice_time(days) == notice * DAY
