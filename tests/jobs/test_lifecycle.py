"""The state of a run: only legal moves, one follower at a time, whatever messages arrive."""

from datetime import timedelta

import pytest
from django.utils import timezone
from kombu.exceptions import OperationalError

from jobs import lifecycle
from jobs.models import TERMINAL_STATES, Publication, RunState
from jobs.tasks import run_training

ME = lifecycle.follower_name()


def test_the_oldest_waiting_run_is_claimed_first(make_run):
    first, second = make_run(), make_run()
    assert [lifecycle.claim_next(ME).pk, lifecycle.claim_next(ME).pk] == [first.pk, second.pk]


def test_a_claimed_run_is_not_claimed_again(make_run):
    make_run()
    assert lifecycle.claim_next(ME) is not None
    assert lifecycle.claim_next(ME) is None


@pytest.mark.parametrize("state", TERMINAL_STATES)
def test_finished_runs_are_never_claimed(make_run, state):
    make_run(state)
    assert lifecycle.claim_next(ME) is None


def test_an_expired_lease_is_taken_over_and_the_old_holder_shut_out(make_run, settings):
    make_run()
    old = lifecycle.claim_next("elsewhere|1|1")
    old.heartbeat_at = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS + 1)
    old.save()
    new = lifecycle.claim_next(ME)
    assert (new.pk, new.lease) == (old.pk, old.lease + 1)
    with pytest.raises(lifecycle.LeaseLost):
        lifecycle.finish(old, RunState.DONE)


def test_a_run_whose_follower_died_here_is_taken_at_once(make_run):
    host = ME.partition("|")[0]
    make_run(RunState.RUNNING, follower=f"{host}|999999999|1.0", heartbeat_at=timezone.now())
    assert lifecycle.needing_a_worker() == 1
    assert lifecycle.claim_next(ME) is not None


def test_a_live_follower_keeps_its_run(make_run):
    make_run(RunState.RUNNING, follower=ME, heartbeat_at=timezone.now())
    assert lifecycle.needing_a_worker() == 0
    assert lifecycle.claim_next("elsewhere|1|1") is None


def test_a_waiting_run_stops_at_once(make_run, alice):
    run = make_run()
    assert lifecycle.request_stop(run, alice)
    run.refresh_from_db()
    assert run.state == RunState.STOPPED
    assert [entry.kind for entry in run.timeline.all()] == ["stop_requested", "stopped"]


def test_a_running_run_is_asked_to_stop_once(make_run, alice):
    make_run()
    run = lifecycle.claim_next(ME)
    assert lifecycle.request_stop(run, alice)
    assert not lifecycle.request_stop(run, alice)
    run.refresh_from_db()
    assert (run.state, run.is_stopping) == (RunState.RUNNING, True)


@pytest.mark.parametrize("state", TERMINAL_STATES)
def test_a_finished_run_cannot_be_stopped(make_run, alice, state):
    assert not lifecycle.request_stop(make_run(state), alice)


def test_a_released_run_waits_again_and_keeps_its_progress(make_run):
    make_run(step=7, events_offset=512)
    run = lifecycle.claim_next(ME)
    lifecycle.release(run, "released", step=7)
    run.refresh_from_db()
    assert (run.state, run.step, run.events_offset) == (RunState.WAITING, 7, 512)


def test_a_failed_run_is_not_published(make_run):
    make_run(publication=Publication.PENDING)
    run = lifecycle.claim_next(ME)
    lifecycle.finish(run, RunState.FAILED, {"code": "disk_full", "params": {}, "message": "full"})
    assert run.publication == Publication.SKIPPED
    assert run.publication_note == {"code": "run_failed"}


def test_a_paused_run_is_passed_over_until_it_is_resumed(make_run, alice):
    paused, other = make_run(), make_run()
    assert lifecycle.request_pause(paused, alice) and not lifecycle.request_pause(paused, alice)
    assert lifecycle.needing_a_worker() == 1
    assert lifecycle.claim_next(ME).pk == other.pk
    assert lifecycle.claim_next(ME) is None
    assert lifecycle.resume(paused, alice) and not lifecycle.resume(paused, alice)
    assert lifecycle.claim_next(ME).pk == paused.pk


def test_a_run_that_ends_while_it_is_being_paused_is_over(make_run, alice):
    make_run()
    run = lifecycle.claim_next(ME)
    assert lifecycle.request_pause(run, alice)
    lifecycle.finish(run, RunState.DONE)
    assert run.paused_at is None and not lifecycle.resume(run, alice)


def test_a_paused_run_stops_at_once(make_run, alice):
    run = make_run()
    lifecycle.request_pause(run, alice)
    assert lifecycle.request_stop(run, alice)
    run.refresh_from_db()
    assert (run.state, run.paused_at) == (RunState.STOPPED, None)


def test_a_broker_that_is_away_keeps_nobody_from_working(
    make_run, client_of, alice, monkeypatch, django_capture_on_commit_callbacks, caplog
):
    """The wake-up is lost, and beat sends it again; whoever pressed the button sees that it was done."""

    def away(**options):
        raise OperationalError("Connection refused.")

    monkeypatch.setattr(run_training, "apply_async", away)
    run = make_run()
    lifecycle.request_pause(run, alice)
    with django_capture_on_commit_callbacks(execute=True):
        assert client_of(alice).post(f"/sft/runs/{run.uid}/resume/").status_code == 302
    run.refresh_from_db()
    assert not run.is_paused and lifecycle.needing_a_worker() == 1
    assert "Connection refused." in caplog.text and "away" in caplog.text


# --- Clocks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_machine_whose_clock_is_wrong_takes_nobodys_run_and_keeps_its_own(make_run, monkeypatch, hours):
    """Leases are dated and compared by the database's clock alone."""
    make_run()
    run = lifecycle.claim_next("elsewhere|1|1")
    wrong = timezone.now() + timedelta(hours=hours)
    monkeypatch.setattr("django.utils.timezone.now", lambda: wrong)
    assert lifecycle.claim_next(ME) is None
    make_run()
    own = lifecycle.claim_next(ME)
    assert own.pk != run.pk and abs((own.heartbeat_at - run.heartbeat_at).total_seconds()) < 60
    assert list(lifecycle.abandoned(None)) == []


def test_a_follower_lives_on_when_the_clock_is_set(monkeypatch):
    """psutil counts from the machine's start by the clock, which is another after the clock was set."""
    monkeypatch.setattr(lifecycle.psutil.Process, "create_time", lambda self: 1.0)
    assert lifecycle.follower_name() == ME
    assert not lifecycle.is_dead(ME)
    host, pid, _start = ME.split("|")
    assert lifecycle.is_dead(f"{host}|{pid}|t1")
