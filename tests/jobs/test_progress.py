"""Events of the trainer reach the database exactly once, also when they are reported again after a resume."""

import pytest

from jobs import lifecycle, progress
from jobs.models import Metric, RunState

TIME = "2026-01-02T03:04:05.678Z"


def event(type, **fields):
    return {"type": type, "time": TIME, "attempt": 1, **fields}


@pytest.fixture
def run(make_run):
    make_run()
    return lifecycle.claim_next(lifecycle.follower_name())


def metrics(step, **values):
    return event("metrics", step=step, epoch=0.1, values=values)


def test_metrics_and_offset_are_stored_together(run):
    progress.store(run, [metrics(1, loss=4.0, learning_rate=1e-4)], 90)
    run.refresh_from_db()
    assert run.events_offset == 90
    assert {(m.key, m.step, m.value) for m in run.metrics.all()} == {
        ("loss", 1, 4.0),
        ("learning_rate", 1, 1e-4),
    }


def test_a_step_reported_again_after_a_resume_is_no_second_point(run):
    progress.store(run, [metrics(1, loss=4.0), metrics(2, loss=3.0)], 100)
    progress.store(run, [metrics(2, loss=3.0), metrics(3, loss=2.0)], 200)
    assert [(m.step, m.value) for m in Metric.objects.order_by("step")] == [(1, 4.0), (2, 3.0), (3, 2.0)]


def test_progress_and_phase_are_kept_on_the_run(run):
    progress.store(
        run,
        [
            event("phase", name="training"),
            event("progress", step=3, total_steps=10, epoch=0.3, eta_seconds=7.0),
        ],
        1,
    )
    run.refresh_from_db()
    assert (run.phase, run.step, run.total_steps, run.percent) == ("training", 3, 10, 30)


def test_checkpoints_come_and_go(run):
    saved = [
        event("checkpoint", step=n, path=f"checkpoints/checkpoint-{n}", bytes=5, loss=1.0) for n in (10, 20)
    ]
    progress.store(run, [*saved, event("checkpoint_removed", step=10)], 1)
    assert [c.step for c in run.checkpoints.all()] == [20]


def test_the_terminal_event_is_returned(run):
    done = event(
        "done", step=5, metrics={"loss": 1.0}, output="output", bytes=1, seconds=2.0, early_stopped=False
    )
    assert progress.store(run, [metrics(5, loss=1.0), done], 1) == done
    assert run.summary["result"]["metrics"] == {"loss": 1.0}


def test_a_follower_that_lost_its_lease_stores_nothing(run):
    type(run).objects.filter(pk=run.pk).update(lease=run.lease + 1)
    with pytest.raises(lifecycle.LeaseLost):
        progress.store(run, [metrics(1, loss=4.0)], 90)
    assert not Metric.objects.exists()
    assert run.state == RunState.RUNNING


def test_samples_are_kept_once(run):
    drawn = event("sample", step=5, kind="image", prompt="a red circle", path="samples/step-5-0.png")
    progress.store(run, [drawn, drawn], 1)
    assert [item["path"] for item in run.summary["samples"]] == ["samples/step-5-0.png"]


def test_replies_stand_under_their_prompt_by_step(run):
    def said(step, text):
        asked = {"kind": "text", "prompt": "Hi", "reference": "Hello.", "picture": None, "number": 1}
        return event("sample", step=step, reply=text, **asked)

    # A resumed run answers step 10 again; the first one is kept however many follow.
    progress.store(run, [said(0, "zz"), said(10, "He"), said(10, "Hel")], 1)
    progress.store(run, [said(step, "Hello.") for step in range(20, 200, 10)], 2)
    (prompt,) = run.summary["replies"]
    assert prompt["reference"] == "Hello." and prompt["replies"][0] == {"step": 0, "text": "zz"}
    assert [reply["step"] for reply in prompt["replies"]] == [0, *range(120, 200, 10)]
