"""A configuration goes out as JSON and comes back as the same form; what cannot be read is named."""

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from catalog.models import Offer
from jobs.models import Publication, Run, RunSource, RunState
from jobs.portable import FIELDS, Unreadable, from_dict, from_text, to_dict, to_text
from jobs.reading import typed_from

CREATE = reverse("jobs:create")


@pytest.fixture
def client(client_of, alice):
    return client_of(alice)


@pytest.fixture
def run(make_run, make_version) -> Run:
    run = make_run(
        RunState.DONE,
        hyperparameters={"epoch": 3, "learningRate": 5e-4, "loggingSteps": 1},
        split_ratio=12.5,
        publication=Publication.PENDING,
        publish_name="bot",
    )
    RunSource.objects.create(run=run, version=make_version(120), sampling_rate=2.5)
    return run


def problems_of(text: str, workspace) -> list[str]:
    with pytest.raises(Unreadable) as refused:
        from_text(text, workspace)
    return list(refused.value.problems)


def test_a_run_comes_back_as_it_went_out(run, workspace):
    reading = from_text(to_text(run), workspace)
    assert not reading.warnings
    expected = typed_from(run)
    typed = {key: values for key, values in reading.typed.lists() if key in expected}
    assert typed == dict(expected.lists())


def test_every_field_that_a_run_fills_in_is_in_the_schema(run):
    expected = {
        key for key in typed_from(run) if not key.startswith(("hp-", "rate-")) and key not in ("source",)
    }
    assert expected <= set(FIELDS)


def test_pasting_starts_the_same_run(client, run, workspace):
    typed = {"name": "another bot", "paste": "1", "configuration": to_text(run)}
    form = client.post(CREATE, typed).context["form"]
    assert form["name"].value() == "another bot"
    assert not form.problems
    assert client.post(CREATE, form.typed.dict()).status_code == 302
    again = Run.objects.exclude(pk=run.pk).get()
    ignored = {"name"}
    before, after = to_dict(run), to_dict(again)
    assert {key: before[key] for key in before if key not in ignored} == {
        key: after[key] for key in after if key not in ignored
    }


def test_only_what_is_named_changes(client, run, base_model):
    typed = {"name": "mine", "hp-epoch": "9", "split_ratio": "5", "paste": "1"}
    form = client.post(CREATE, typed | {"configuration": '{"schema": 1, "split_ratio": 7}'}).context["form"]
    assert (form["name"].value(), form["hp-epoch"].value(), form["split_ratio"].value()) == ("mine", "9", "7")


def test_a_value_out_of_range_is_filled_in_to_be_seen(client, run):
    data = to_dict(run) | {"hyperparameters": {"epoch": 999}}
    form = client.post(CREATE, {"paste": "1", "configuration": json.dumps(data)}).context["form"]
    assert form["hp-epoch"].value() == "999"
    assert "hp-epoch" in form.problems


def test_broken_json_is_told_with_its_line_and_loses_nothing(client, base_model):
    broken = '{"schema": 1,\n "method": }'
    page = client.post(CREATE, {"name": "mine", "paste": "1", "configuration": broken})
    assert "Line 2, column 12" in page.text
    assert page.context["form"]["name"].value() == "mine"
    assert "&quot;method&quot;: }" in page.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"schema": 1, "epochs": 3}', "epochs: is not known."),
        ('{"schema": 2}', "schema: must be 1."),
        ("{}", "schema: must be 1."),
        ("[1]", "A configuration is a JSON object: { … }."),
        ('{"schema": 1, "hyperparameters": {"epoch": {}}}', "hyperparameters.epoch: must be a number"),
        ('{"schema": 1, "hyperparameters": {"epoch": 1e999}}', "hyperparameters.epoch: must be a number"),
        ('{"schema": 1, "hyperparameters": {"speed": 1}}', "hyperparameters.speed: is not known."),
        ('{"schema": 1, "base_model": "GPT-9"}', "base_model: GPT-9 is not offered here."),
        (
            '{"schema": 1, "base_model": "Toy-8K", "method": "FullFineTuning"}',
            "method: FullFineTuning is not",
        ),
        ('{"schema": 1, "auto_publish": "yes"}', "auto_publish: must be true or false."),
        ('{"schema": 1, "sources": [{"rate": 1}]}', "sources[0].rate: is not known."),
        (
            '{"schema": 1, "sources": [{"version": "x", "sampling_rate": "1"}]}',
            "sources[0].sampling_rate: must",
        ),
        ('{"schema": 1, "method": "LoRA", "method": "LoRA"}', "method: is given twice."),
        ('{"schema": 1, "split_ratio": NaN}', "NaN is not a number"),
        ('{"schema": ' + "[" * 50_000, "This JSON holds more"),
        ('{"schema": ' + "1" * 5_000 + "}", "This JSON holds more"),
    ],
)
def test_what_cannot_be_filled_in_is_named(text, problem, workspace, base_model):
    assert any(found.startswith(problem) for found in problems_of(text, workspace))


def test_data_of_another_workspace_is_warned_about_and_not_chosen(run, charlie):
    other = charlie.memberships.get().workspace
    reading = from_dict(to_dict(run), other)
    assert reading.warnings == [
        "chats V1 is not a published dataset version of this workspace; choose another."
    ]
    assert reading.typed.getlist("source") == []


def test_a_file_will_do(client, run):
    file = SimpleUploadedFile("run.json", to_text(run).encode())
    page = client.post(CREATE, {"paste": "1", "configuration": "", "configuration_file": file})
    assert page.context["form"]["hp-epoch"].value() == "3"
    assert "schema: must be 1." in client.post(CREATE, {"paste": "1", "configuration": "{}"}).text
    assert "choose a file" in client.post(CREATE, {"paste": "1"}).text


def test_duplicating_a_run_opens_a_new_job_like_it(client, run):
    page = client.get(CREATE, {"run": run.uid})
    form = page.context["form"]
    assert form["name"].value() == "support bot (2)"
    assert (form["hp-epoch"].value(), form["model_name"].value()) == ("3", "bot")
    assert not form.problems


def test_a_later_run_may_start_from_any_run(client, run, make_run):
    make_run(RunState.DONE, hyperparameters={"epoch": 1})
    page = client.get(reverse("jobs:new_run", args=[run.job.uid]), {"run": run.uid})
    assert page.context["form"]["hp-epoch"].value() == "3"


def test_a_model_that_is_gone_is_told(client, run):
    Offer.objects.all().delete()
    page = client.get(CREATE, {"run": run.uid})
    assert "method: LoRA is not offered for Toy-8K." in page.text


def test_runs_of_others_stay_hidden(client_of, charlie, run):
    assert client_of(charlie).get(CREATE, {"run": run.uid}).status_code == 404
    assert client_of(charlie).get(reverse("jobs:configuration", args=[run.uid])).status_code == 404


def test_the_run_page_gives_it_away(client, run):
    answer = client.get(reverse("jobs:configuration", args=[run.uid]))
    assert json.loads(answer.content)["hyperparameters"]["epoch"] == 3
    assert "attachment" in answer["Content-Disposition"]
    assert "&quot;learningRate&quot;: 0.0005" in client.get(reverse("jobs:run", args=[run.uid])).text


def test_what_is_not_there_is_told_and_left_out(workspace, base_model):
    data = {"schema": 1, "incremental": True, "base_run": "task-none", "pool": "moon", "idle": True}
    reading = from_dict(data, workspace)
    assert len(reading.warnings) == 2
    assert not set(reading.typed) & {"incremental", "base_run", "pool", "idle"}
