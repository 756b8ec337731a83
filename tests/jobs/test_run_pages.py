"""The page of a run and its live parts: who sees what, progress, curves, log, stopping, sentences."""

import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone, translation

from console.models import Membership, Role, Workspace
from jobs import lifecycle, messages
from jobs.curves import MAX_POINTS, series_of
from jobs.launch import run_directory
from jobs.log_tail import FIRST_BYTES, MAX_BYTES, log_path, read_log
from jobs.models import Checkpoint, Metric, Publication, RunSource, RunState
from jobs.presentation import setting_groups

HTMX = {"headers": {"hx-request": "true"}}
PARTS = ("run", "progress", "metrics", "log")


def url(name: str, run) -> str:
    return reverse(f"jobs:{name}", args=[run.uid])


@pytest.fixture
def running(make_run):
    """Half way through, with what the trainer reported so far."""
    return make_run(
        RunState.RUNNING,
        phase="training",
        step=50,
        total_steps=100,
        epoch=1.5,
        eta_seconds=75,
        started_at=timezone.now() - timedelta(minutes=2),
        attempt=1,
        hyperparameters={"epoch": 3, "learningRate": 3e-4, "loggingSteps": 0},
        resolved={
            "epoch": {"value": 3, "origin": "user"},
            "learningRate": {"value": 3e-4, "origin": "offer"},
            "loggingSteps": {"value": 5, "origin": "trainer"},
        },
    )


# --- Who ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_members_see_it_and_strangers_do_not(client, client_of, alice, bob, charlie, running, part):
    for person, status in ((alice, 200), (bob, 200), (charlie, 404)):
        assert client_of(person).get(url(part, running), **HTMX).status_code == status
    assert client.get(url(part, running)).url.startswith(reverse("login"))


@pytest.mark.parametrize("part", PARTS)
def test_parts_are_for_reading_only(client_of, alice, running, part):
    assert client_of(alice).post(url(part, running)).status_code == 405


def test_stopping_a_running_run_asks_its_trainer_to_save(client_of, alice, running):
    answer = client_of(alice).post(url("stop", running), follow=True)
    running.refresh_from_db()
    assert running.is_stopping
    assert running.stop_requested_by == alice
    assert "Saving a checkpoint and stopping" in answer.text
    assert url("stop", running) not in answer.text


def test_stopping_twice_is_told_and_changes_nothing(client_of, alice, running):
    lifecycle.request_stop(running, alice)
    answer = client_of(alice).post(url("stop", running), follow=True)
    assert "already over or being stopped" in answer.text
    assert running.timeline.filter(kind="stop_requested").count() == 1


def test_pausing_and_resuming(client_of, alice, bob, charlie, running):
    assert client_of(bob).post(url("pause", running)).status_code == 403
    assert client_of(charlie).post(url("resume", running)).status_code == 404
    answer = client_of(alice).post(url("pause", running), follow=True)
    assert "Saving a checkpoint and pausing" in answer.text
    assert url("pause", running) not in answer.text
    assert "Resume" in answer.text and url("stop", running) in answer.text
    type(running).objects.filter(pk=running.pk).update(state=RunState.WAITING)
    assert "It rests until somebody resumes it." in client_of(alice).get(url("run", running)).text
    assert url("pause", running) in client_of(alice).post(url("resume", running), follow=True).text


def test_only_members_who_write_may_stop(client_of, alice, bob, charlie, running):
    assert client_of(bob).post(url("stop", running)).status_code == 403
    assert client_of(charlie).post(url("stop", running)).status_code == 404
    assert client_of(alice).get(url("stop", running)).status_code == 405
    running.refresh_from_db()
    assert running.stop_requested_at is None
    assert url("stop", running) not in client_of(bob).get(url("run", running)).text


def test_the_right_to_stop_is_that_of_the_runs_workspace(client_of, alice, running):
    """Alice looks at a workspace where she only reads; the run is in one where she writes."""
    other = Workspace.objects.create(name="A first one")
    Membership.objects.create(user=alice, workspace=other, role=Role.VIEWER)
    assert url("stop", running) in client_of(alice).get(url("run", running)).text


def tokens(page) -> dict[str, str]:
    """What the page sends along with its polls."""
    return {"state": page.context["state_token"], "parts": page.context["parts_token"]}


# --- Progress ----------------------------------------------------------------------------------------------------


def test_progress_says_where_the_run_is(client_of, alice, running):
    Metric.objects.create(run=running, key="loss", step=49, value=2.5)
    Metric.objects.create(run=running, key="loss", step=50, value=1.25)
    page = client_of(alice).get(url("progress", running), **HTMX)
    for part in ("Training", "50%", "50 / 100", "1 min 15 s", "1.25"):
        assert part in page.text
    assert 'hx-trigger="every 2s"' in page.text


def test_without_htmx_the_progress_is_the_page(client_of, alice, running):
    assert client_of(alice).get(url("progress", running)).url == url("run", running)


def test_polling_ends_with_the_run_and_brings_the_end(client_of, alice, running):
    client = client_of(alice)
    seen = tokens(client.get(url("run", running)))
    running.state, running.finished_at = RunState.DONE, timezone.now()
    running.save()
    answer = client.get(url("progress", running), seen, **HTMX)
    assert answer.status_code == 286
    assert "100%" in answer.text
    assert "hx-trigger" not in answer.text
    assert 'id="run-badge" hx-swap-oob="innerHTML"' in answer.text


def test_polling_goes_on_until_the_model_is_published(client_of, alice, running):
    running.state, running.publication = RunState.DONE, Publication.PENDING
    running.save()
    assert client_of(alice).get(url("progress", running), **HTMX).status_code == 200


def test_a_poll_brings_the_parts_beside_it_only_when_they_changed(client_of, alice, running):
    client = client_of(alice)
    seen = tokens(client.get(url("run", running)))
    assert "hx-swap-oob" not in client.get(url("progress", running), seen, **HTMX).text
    Checkpoint.objects.create(run=running, step=40, path="c", size=2048, loss=1.5, created_at=timezone.now())
    type(running).objects.update(events_offset=100)
    answer = client.get(url("progress", running), seen, **HTMX)
    assert 'id="run-checkpoints" hx-swap-oob="innerHTML"' in answer.text
    assert "2.0\xa0KB" in answer.text
    # The question whether to stop may be open.
    assert 'id="run-stop"' not in answer.text


def test_a_waiting_run_says_how_many_are_before_it(client_of, alice, make_run):
    make_run()
    run = make_run()
    assert "1 run is before it" in client_of(alice).get(url("run", run)).text


def test_a_run_that_nobody_takes_says_whom_to_ask(client_of, alice, make_run):
    run = make_run()
    type(run).objects.update(created_at=timezone.now() - timedelta(minutes=5))
    assert "ask an operator whether a training worker runs" in client_of(alice).get(url("run", run)).text


def test_a_failed_run_says_what_to_do(client_of, alice, make_run):
    failure = {"code": "out_of_memory", "params": {}, "message": "CUDA: 2 GiB missing"}
    run = make_run(RunState.FAILED, failure=failure)
    page = client_of(alice).get(url("run", run))
    assert "Shorten the sequence length" in page.text
    assert "CUDA: 2 GiB missing" in page.text


def test_publication_is_shown_with_its_reason(client_of, alice, make_run):
    note = {"code": "name_taken", "params": {"name": "<kefu>"}}
    run = make_run(RunState.DONE, publication=Publication.SKIPPED, publication_note=note)
    assert "A model named “&lt;kefu&gt;”" in client_of(alice).get(url("run", run)).text


def test_the_page_takes_few_queries_whatever_a_run_has(
    client_of, alice, running, make_version, django_assert_num_queries
):
    for step in range(30):
        Checkpoint.objects.create(run=running, step=step, path="c", created_at=timezone.now())
        lifecycle.note(running, "checkpoint", step=step, actor=alice)
        RunSource.objects.create(run=running, version=make_version(1, name=f"data {step}"))
    client = client_of(alice)
    # session, user, run, newest metrics, token (timeline, checkpoints), what is seen, offered hyperparameters,
    # memberships, checkpoints, timeline, sources; the configuration as JSON (sources with and without their datasets);
    # notifications that were not read
    with django_assert_num_queries(15):
        client.get(url("run", running))


# --- Configuration -----------------------------------------------------------------------------------------------


def test_the_configuration_says_who_decided_each_value(running):
    settings = {item.key: item for group in setting_groups(running) for item in group.settings}
    assert [settings[key].origin for key in ("epoch", "learningRate", "loggingSteps")] == [
        "user",
        "offer",
        "trainer",
    ]
    assert (settings["loggingSteps"].value, settings["loggingSteps"].asked) == ("5", "0")
    assert settings["epoch"].asked == ""


def test_before_the_trainer_speaks_the_offer_tells_defaults_from_choices(make_run):
    run = make_run(hyperparameters={"epoch": 3, "learningRate": 3e-4})
    settings = {item.key: item for group in setting_groups(run) for item in group.settings}
    assert (settings["epoch"].origin, settings["learningRate"].origin) == ("user", "offer")


# --- Curves ------------------------------------------------------------------------------------------------------


def test_curves_are_series_of_points_after_a_cursor(client_of, alice, running):
    client = client_of(alice)
    Metric.objects.create(run=running, key="loss", step=1, value=3.0)
    first = client.get(url("metrics", running)).json()
    assert first["series"] == [{"key": "loss", "label": "Training loss", "points": [[1, 3.0]]}]
    assert first["active"] is True
    # The validation loss of a step comes after its training loss.
    Metric.objects.create(run=running, key="eval_loss", step=1, value=3.5)
    second = client.get(url("metrics", running), {"after": first["cursor"]}).json()
    assert [(series["key"], series["points"]) for series in second["series"]] == [("eval_loss", [[1, 3.5]])]
    nothing = client.get(url("metrics", running), {"after": second["cursor"]}).json()
    assert (nothing["series"], nothing["cursor"]) == ([], second["cursor"])


def test_curves_can_be_chosen_and_end_with_the_run(client_of, alice, make_run):
    run = make_run(RunState.DONE)
    for key in ("loss", "eval_loss", "grad_norm"):
        Metric.objects.create(run=run, key=key, step=1, value=1)
    found = client_of(alice).get(url("metrics", run), {"keys": "eval_loss,loss", "after": "nonsense"}).json()
    assert [series["key"] for series in found["series"]] == ["eval_loss", "loss"]
    assert found["active"] is False


def test_curves_are_valid_json_without_nan(client_of, alice, running):
    for step, value in enumerate((1.0, float("nan"), float("inf"), 2.0)):
        Metric.objects.create(run=running, key="loss", step=step, value=value)
    found = json.loads(client_of(alice).get(url("metrics", running)).text, parse_constant=pytest.fail)
    assert found["series"][0]["points"] == [[0, 1.0], [3, 2.0]]


def test_curves_come_in_the_order_of_their_meaning(client_of, alice, running):
    for key in ("zzz", "eval_loss", "loss"):
        Metric.objects.create(run=running, key=key, step=1, value=1)
    found = client_of(alice).get(url("metrics", running)).json()
    assert [series["key"] for series in found["series"]] == ["loss", "eval_loss", "zzz"]


def test_the_numbers_are_there_as_a_table(client_of, alice, running):
    for step in (1, 2):
        Metric.objects.create(run=running, key="loss", step=step, value=step / 8)
    Metric.objects.create(run=running, key="eval_loss", step=2, value=0.5)
    page = client_of(alice).get(url("metrics", running), {"table": ""})
    assert page.context["table"].rows == [(2, [0.25, 0.5]), (1, [0.125, None])]
    assert "Validation loss" in page.text


def store(run, values, key="loss"):
    """Points of a run; of a plain list the first is that of step 0."""
    points = values.items() if isinstance(values, dict) else enumerate(values)
    Metric.objects.bulk_create(Metric(run=run, key=key, step=step, value=value) for step, value in points)


def test_the_table_goes_on_with_older_steps_and_from_any_step(client_of, alice, running):
    store(running, [1.0] * 250)
    store(running, {10_000: 0.5, 55: 0.25}, key="eval_loss")
    client, seen = client_of(alice), []
    query = {"table": ""}
    while query:
        table = client.get(url("metrics", running), query).context["table"]
        seen += [step for step, _values in table.rows]
        query = {"table": "", "step": table.older} if table.older is not None else {}
    assert seen == [10_000, *reversed(range(250))]
    table = client.get(url("metrics", running), {"table": "", "step": 55}).context["table"]
    assert table.rows[:2] == [(55, [1.0, 0.25]), (54, [1.0, None])]
    assert client.get(url("metrics", running), {"table": "", "step": "nonsense"}).status_code == 200


@pytest.mark.parametrize("count", [MAX_POINTS + 1, 2 * MAX_POINTS - 1, 12_345])
def test_thinning_keeps_ends_and_spikes(running, count):
    values = [float(step % 7) for step in range(count)]
    spikes = {count // 3: 99.0, count // 2: -99.0}
    store(running, dict(enumerate(values)) | spikes)
    kept, newest = series_of(running, "loss")
    assert MAX_POINTS // 2 < len(kept) <= MAX_POINTS
    assert kept == sorted(set(kept))
    assert {(0, 0.0), (count - 1, float((count - 1) % 7)), *spikes.items()} <= set(kept)
    assert newest == running.metrics.latest("pk").pk


def test_thinning_gives_the_extremes_of_each_stretch_with_their_own_steps(running):
    """Against the plain definition, on steps far apart and values that repeat."""
    values = {1_000_003 + 7 * number: float(number * number % 211) for number in range(1501)}
    store(running, values)
    kept, _newest = series_of(running, "loss", limit=12)
    first, steps = min(values), max(values) - min(values) + 1
    for stretch in range(5):
        own = [values[step] for step in values if (step - first) * 5 // steps == stretch]
        seen = [value for step, value in kept if (step - first) * 5 // steps == stretch]
        assert (min(seen), max(seen)) == (min(own), max(own))
    assert all(values[step] == value for step, value in kept)


def test_few_points_stay_as_they_are(client_of, alice, running):
    store(running, [1.0] * MAX_POINTS)
    found = client_of(alice).get(url("metrics", running)).json()
    assert found["series"][0]["points"] == [[step, 1.0] for step in range(MAX_POINTS)]


def test_a_short_series_beside_a_long_one_keeps_all_its_points(client_of, alice, running):
    store(running, [*([2.0] * MAX_POINTS), float("nan"), 1.0])
    store(running, {900: 1.5, 901: 1.25, 902: 1.75}, key="eval_loss")
    loss, other = client_of(alice).get(url("metrics", running)).json()["series"]
    assert other["points"] == [[900, 1.5], [901, 1.25], [902, 1.75]]
    assert loss["points"][0] == [0, 2.0] and loss["points"][-1] == [MAX_POINTS + 1, 1.0]


def test_after_a_long_pause_the_whole_series_comes_again(client_of, alice, running):
    """More points than a chart shows since the cursor: they take the place of those that it has."""
    store(running, [4.0])
    client = client_of(alice)
    cursor = client.get(url("metrics", running)).json()["cursor"]
    store(running, dict.fromkeys(range(1, 3 * MAX_POINTS), 1.0))
    found = client.get(url("metrics", running), {"after": cursor}).json()
    points = found["series"][0]["points"]
    assert points[0] == [0, 4.0] and points[-1] == [3 * MAX_POINTS - 1, 1.0] and len(points) <= MAX_POINTS
    assert client.get(url("metrics", running), {"after": found["cursor"]}).json()["series"] == []


# --- Log ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def write_log(running):
    """Returns a function that appends to the run's log."""
    path = log_path(running)
    path.parent.mkdir(parents=True)

    def write(text: str | bytes) -> None:
        with path.open("ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    return write


def test_a_log_starts_with_its_end_from_the_beginning_of_a_line(running, write_log):
    write_log("".join(f"line {number}\n" for number in range(20_000)))
    piece = read_log(log_path(running))
    assert piece.is_cut
    assert piece.text.startswith("line ")
    assert piece.text.endswith("line 19999\n")
    assert len(piece.text) <= FIRST_BYTES


def test_pieces_after_a_cursor_make_up_the_whole_file(running, write_log):
    whole = "训练第一步\n" * 60_000
    write_log(whole)
    pieces, cursor = [], 0
    while (piece := read_log(log_path(running), cursor)).end > cursor:
        assert len(piece.text.encode()) <= MAX_BYTES
        pieces.append(piece.text)
        cursor = piece.end
    assert "".join(pieces) == whole


def test_half_a_character_waits_for_its_other_half(running, write_log):
    write_log("ab训".encode()[:-1])
    first = read_log(log_path(running), 0)
    assert first.text == "ab"
    write_log("训".encode()[-1:])
    assert read_log(log_path(running), first.end).text == "训"


def test_a_log_that_began_anew_is_read_from_its_end(running, write_log):
    write_log("second start\n")
    assert read_log(log_path(running), 10_000).text == "second start\n"


def test_the_log_is_text_and_asks_for_more_while_the_run_is_active(client_of, alice, running, write_log):
    write_log("<b>loss</b>\n")
    client = client_of(alice)
    answer = client.get(url("log", running), **HTMX)
    assert "&lt;b&gt;loss" in answer.text
    assert "?after=12" in answer.text
    write_log("more\n")
    more = client.get(url("log", running), {"after": 12}, **HTMX)
    assert more.text.startswith("more\n")
    assert "?after=17" in more.text
    running.state = RunState.DONE
    running.save()
    assert client.get(url("log", running), {"after": 17}, **HTMX).text == ""


def test_the_whole_log_can_be_downloaded(client_of, alice, running, write_log):
    write_log("all of it\n")
    answer = client_of(alice).get(url("log", running), {"download": ""})
    assert b"".join(answer.streaming_content) == b"all of it\n"
    assert answer["content-disposition"] == f'attachment; filename="{running.uid}.log"'


def test_no_log_yet_is_no_error(client_of, alice, running):
    client = client_of(alice)
    assert client.get(url("log", running)).status_code == 200
    assert client.get(url("log", running), {"download": ""}).status_code == 404


# --- Sentences ---------------------------------------------------------------------------------------------------


def test_a_known_code_is_a_sentence_with_its_params():
    failure = {"code": "loss_not_finite", "params": {"step": 12}, "message": "stored"}
    assert "at step 12" in messages.failure_text(failure)


@pytest.mark.parametrize(
    "failure",
    [
        {"code": "from_the_future", "params": {}, "message": "The stored sentence."},
        {"code": "loss_not_finite", "params": {}, "message": "The stored sentence."},
        {"code": "loss_not_finite", "message": "The stored sentence."},
    ],
)
def test_an_unknown_code_or_a_missing_param_falls_back_to_the_stored_sentence(failure):
    assert messages.failure_text(failure) == "The stored sentence."
    assert messages.failure_detail(failure) == ""


def test_what_is_wrong_with_weights_is_said_in_the_readers_language():
    params = {
        "path": "/w",
        "reason": "the tensor a.b is missing (2 in all)",
        "why": "tensor_missing",
        "name": "a.b",
    }
    with translation.override("zh-hans"):
        assert "缺少张量 a.b" in messages.failure_text({"code": "weights_broken", "params": params})
    params |= {"why": ""}
    assert "(2 in all)" in messages.failure_text({"code": "weights_broken", "params": params})


def test_sentences_follow_the_readers_language(monkeypatch):
    """The text is looked up when it is shown, not when the module is read."""
    monkeypatch.setattr(translation._trans, "gettext", lambda text: f"[{translation.get_language()}] {text}")
    failure = {"code": "no_gpu", "params": {}, "message": "stored"}
    for language in ("en", "zh-hans"):
        with translation.override(language):
            assert messages.failure_text(failure).startswith(f"[{language}] The run asks for a GPU")


def test_every_timeline_entry_reads_as_a_sentence(make_run, alice):
    run = make_run()
    samples = {
        "started": {"host": "gpu-01", "device": "cuda"},
        "taken_over": {"host": "gpu-02"},
        "began_anew": {"host": "gpu-02"},
        "published": {"model": "kefu", "version": 2},
        "publish_requested": {"model": "kefu"},
        "checkpoints_deleted": {"count": 2, "days": 30},
    }
    for kind in messages.TIMELINE:
        entry = lifecycle.note(run, kind, **samples.get(kind, {"step": 7, "code": -9, "seconds": 1.5}))
        text = messages.timeline_text(entry)
        assert text != kind
        assert "%(" not in text


def test_codes_of_the_trainer_and_the_console_have_a_sentence(settings):
    """A code that somebody adds without a text here would reach Chinese readers in English."""
    known = {*messages.FAILURES, *messages.WARNINGS, *messages.PUBLICATION_NOTES}
    raised = re.compile(r'(?:TrainingFailure|WeightsUnavailable|NotPublishable|\.warn)\(\s*"([a-z0-9_]+)"')
    sources = (settings.BASE_DIR / "jobs").rglob("*.py")
    found = {code for path in sources for code in raised.findall(path.read_text())}
    assert len(found) > 10
    assert found <= known, sorted(found - known)


# --- Admin -------------------------------------------------------------------------------------------------------


@pytest.fixture
def operator(client_of, alice):
    alice.is_staff = alice.is_superuser = True
    alice.save()
    return client_of(alice)


def test_operators_see_runs_and_jobs_and_edit_nothing(operator, running):
    for name, pk in (("run", running.pk), ("job", running.job.pk)):
        assert operator.get(reverse(f"admin:jobs_{name}_changelist")).status_code == 200
        change = reverse(f"admin:jobs_{name}_change", args=[pk])
        assert operator.get(change).status_code == 200
        assert operator.post(change, {"state": "Done"}).status_code == 403


def test_operators_stop_runs(operator, alice, running, make_run):
    done = make_run(RunState.DONE)
    answer = operator.post(
        reverse("admin:jobs_run_changelist"),
        {"action": "stop", "_selected_action": [running.pk, done.pk]},
        follow=True,
    )
    running.refresh_from_db()
    assert running.stop_requested_by == alice
    assert "1 run is being stopped." in answer.text
    assert "1 run was already over" in answer.text


def test_staff_without_the_right_to_change_runs_cannot_stop_them(client_of, bob, running):
    bob.is_staff = True
    bob.save()
    bob.user_permissions.add(Permission.objects.get(codename="view_run"))
    client_of(bob).post(
        reverse("admin:jobs_run_changelist"), {"action": "stop", "_selected_action": [running.pk]}
    )
    running.refresh_from_db()
    assert running.stop_requested_at is None


def test_samples_are_shown_to_members_only(client_of, alice, charlie, make_run):
    run = make_run(
        RunState.DONE, summary={"samples": [{"step": 5, "prompt": "a cat", "path": "samples/step-5-0.png"}]}
    )
    folder = run_directory(run) / "samples"
    folder.mkdir(parents=True)
    (folder / "step-5-0.png").write_bytes(b"png")
    address = f"/sft/runs/{run.uid}/samples/step-5-0.png"
    assert address in client_of(alice).get(f"/sft/runs/{run.uid}/").content.decode()
    assert b"".join(client_of(alice).get(address)) == b"png"
    assert client_of(charlie).get(address).status_code == 404
    assert client_of(alice).get(f"/sft/runs/{run.uid}/samples/spec.json").status_code == 404


def test_replies_are_shown_beside_the_reference(client_of, alice, make_run):
    asked = {"prompt": "What is <this>?", "reference": "A cat.", "picture": "samples/asked-1.png"}
    replies = [{"step": 0, "text": "zz"}, {"step": 10, "text": "A c…"}]
    run = make_run(RunState.DONE, summary={"replies": [asked | {"replies": replies}]})
    page = client_of(alice).get(f"/sft/runs/{run.uid}/").content.decode()
    for text in ("What is &lt;this&gt;?", "A cat.", "zz", "A c…", f"/sft/runs/{run.uid}/samples/asked-1.png"):
        assert text in page
