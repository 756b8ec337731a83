"""What people are told of runs and limits: in the transaction of the change, once each."""

from datetime import timedelta

import pytest
from django.utils import timezone

from console.models import Notification
from jobs import lifecycle, limits, publishing
from jobs.models import Limits, Publication, RunState, Usage


def claimed(make_run, **fields):
    """A run that this process carries out."""
    run = make_run(**fields)
    return lifecycle.claim_next("here|1|1") or run


def told() -> list[str]:
    return list(Notification.objects.order_by("pk").values_list("kind", flat=True))


def test_the_end_of_a_run_is_told_once(make_run, alice):
    run = claimed(make_run)
    lifecycle.finish(run, RunState.DONE, seconds=1)
    with pytest.raises(lifecycle.LeaseLost):
        lifecycle.finish(run, RunState.DONE, seconds=1)
    item = alice.receipts.get().notification
    assert (item.kind, item.title, item.text) == (
        "run.done",
        f"{run} is done",
        "Trained Toy-8K in 0 steps.",
    )


def test_a_failure_is_told_with_what_can_be_done(make_run, alice):
    failure = {"code": "out_of_memory", "params": {}, "message": "CUDA out of memory"}
    lifecycle.finish(claimed(make_run), RunState.FAILED, failure)
    assert told() == ["run.failed"] and "Shorten the sequence length" in Notification.objects.get().text


def test_what_somebody_stopped_is_no_news(make_run, alice):
    run = claimed(make_run)
    lifecycle.request_stop(run, alice)
    run.refresh_from_db()
    lifecycle.finish(run, RunState.STOPPED)
    assert told() == []


def test_a_change_that_is_lost_tells_nothing(make_run, monkeypatch):
    """Killed after the notification was written and before the state was: neither is there."""
    run = claimed(make_run)
    monkeypatch.setattr(limits, "watch", lambda workspaces: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        lifecycle.finish(run, RunState.DONE)
    run.refresh_from_db()
    assert (run.state, told()) == (RunState.RUNNING, [])


def test_every_third_interruption_is_told(make_run, settings):
    settings.PREEMPTIONS_NOTED = 3
    run = make_run(idle=True)
    for number in range(1, 7):
        run = lifecycle.claim_next("here|1|1")
        lifecycle.release(run, "preempted", step=number)
    assert [item.data["count"] for item in Notification.objects.order_by("pk")] == [3, 6]


def test_a_result_that_is_not_published_is_told(make_run):
    run = make_run(RunState.DONE, publication=Publication.PENDING, publish_name="bot")
    publishing.publish(run.pk)
    assert told() == ["run.not_published"] and "no longer on the disk" in Notification.objects.get().text


# --- Device hours --------------------------------------------------------------------------------------------


def use(workspace, hours: float) -> None:
    month = limits.month_of(timezone.now()).date()
    Usage.objects.update_or_create(
        workspace=workspace, month=month, defaults={"device_seconds": hours * 3600}
    )
    limits.watch()


def test_hours_are_told_at_80_percent_and_at_the_limit_once_each(workspace, alice):
    policy = Limits.objects.create(workspace=workspace, device_hours=10)
    for hours in (7.9, 8.1, 9, 10, 11):
        use(workspace, hours)
    assert told() == ["budget.low", "budget.used"]
    assert Notification.objects.last().title == "8 of 10 device hours of this month are used"
    policy.device_hours = 12
    policy.save()
    use(workspace, 11)
    assert told() == ["budget.low", "budget.used", "budget.low"], "of the new limit"


def test_hours_of_a_run_are_told_when_it_ends(make_run, workspace):
    Limits.objects.create(workspace=workspace, device_hours=10)
    run = claimed(make_run)
    run.claimed_at -= timedelta(minutes=1)
    run.save()
    month = limits.month_of(timezone.now()).date()
    Usage.objects.create(workspace=workspace, month=month, device_seconds=10 * 3600 - 60)
    lifecycle.finish(run, RunState.DONE)
    assert told() == ["run.done", "budget.used"]


def test_without_a_limit_nothing_is_told(workspace):
    Limits.objects.create(workspace=workspace, running=1)
    use(workspace, 1000)
    assert told() == []
