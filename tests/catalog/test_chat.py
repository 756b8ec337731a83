"""The page on which models are tried out: who may, what its script gets, and errors at their fields."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse

from catalog import chat_views, serving_client
from catalog.models import Model, ModelVersion
from catalog.models.registry import ModelVersionState
from catalog.serving_client import Unanswered
from jobs.models import Checkpoint
from jobs.training.serving_protocol import Said
from tests.jobs.conftest import base_model, make_run  # noqa: F401  (fixtures)


@pytest.fixture
def version(workspace, base_model) -> ModelVersion:  # noqa: F811
    model = Model.objects.create(workspace=workspace, name="kefu", model_type="text2text")
    ready = ModelVersionState.READY
    return ModelVersion.objects.create(
        model=model, number=1, base_model=base_model, method="LoRA", state=ready
    )


@pytest.fixture
def asked(monkeypatch):
    """What models were asked; all of them say "Hello"."""
    calls = []

    def answer(target, task):
        calls.append((target, task))
        yield None
        yield Said("delta", text="Hello")
        yield Said("done", prompt_tokens=3, completion_tokens=1)

    monkeypatch.setattr(serving_client, "answer", answer)
    return calls


def send(client, url, *turns, **fields):
    messages = [
        {"role": "user" if place % 2 == 0 else "assistant", "content": t} for place, t in enumerate(turns)
    ]
    return client.post(f"{url}answer/", {"messages": json.dumps(messages), **fields})


def events(response):
    lines = b"".join(response.streaming_content).decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_pages_are_for_the_workspace_and_viewers_may_ask(
    client_of,
    alice,
    bob,
    charlie,
    version,
    make_run,  # noqa: F811
    asked,
):
    run = make_run()
    Checkpoint.objects.create(run=run, step=5, path="x", created_at=run.created_at)
    for url in (
        reverse("models:chat", args=[version.uid]),
        reverse("models:checkpoint_chat", args=[run.uid, 5]),
    ):
        assert [client_of(person).get(url).status_code for person in (alice, bob, charlie)] == [200, 200, 404]
        assert [send(client_of(p), url, "Hi").status_code for p in (alice, bob, charlie)] == [200, 200, 404]
        assert (
            client_of(alice).post(url).status_code,
            client_of(alice).get(f"{url}answer/").status_code,
        ) == (405, 405)
    assert client_of(alice).get(reverse("models:checkpoint_chat", args=[run.uid, 6])).status_code == 404


def test_the_answer_comes_as_events_with_what_was_chosen(client_of, alice, version, asked):
    url = reverse("models:chat", args=[version.uid])
    fields = {"system": "Be brief.", "temperature": "0", "max_tokens": "9", "stop": "a\nb", "seed": "4"}
    said = events(send(client_of(alice), url, "Hi", "Hello", "And?", **fields))
    assert [one["type"] for one in said] == ["delta", "done"]
    target, task = asked[0]
    assert target.version == version
    assert [(turn.role, turn.content) for turn in task.turns] == [
        ("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "And?")
    ]  # fmt: skip
    sampling = task.sampling
    assert (sampling.temperature, sampling.max_tokens, sampling.stop, sampling.seed) == (0, 9, ["a", "b"], 4)


def test_the_other_side_is_the_base_model(client_of, alice, version, asked):
    events(send(client_of(alice), reverse("models:chat", args=[version.uid]), "Hi", side="base"))
    assert asked[0][0].is_base and asked[0][0].base_model == version.base_model


def test_what_is_wrong_is_said_by_field(client_of, alice, version, asked):
    url = reverse("models:chat", args=[version.uid])
    response = send(client_of(alice), url, " ", temperature="9", stop="1\n2\n3\n4\n5")
    assert (response.status_code, set(response.json()["errors"])) == (422, {"message", "temperature", "stop"})
    assert client_of(alice).post(f"{url}answer/", {"messages": "[["}).status_code == 422
    assert not asked


def test_a_refusal_is_said_in_the_readers_words(client_of, alice, version, monkeypatch):
    def answer(target, task):
        raise Unanswered(503, "weights_broken", "…", params={"path": "/x", "reason": "no"})
        yield

    monkeypatch.setattr(serving_client, "answer", answer)
    (said,) = events(send(client_of(alice), reverse("models:chat", args=[version.uid]), "Hi"))
    assert said["type"] == "refused" and "/x" in said["text"]


def test_a_model_that_sees_takes_a_picture_and_one_that_draws_steps(client_of, alice, base_model, asked):  # noqa: F811
    url = reverse("catalog:chat", args=[base_model.name])
    family = base_model.family
    family.model_type = "imageUnderstanding"
    family.save()
    assert 'type="file"' in client_of(alice).get(url).text
    events(send(client_of(alice), url, "What is it?", picture=SimpleUploadedFile("a.png", b"png")))
    assert asked[0][1].picture == "cG5n"
    family.model_type = "text2image"
    family.save()
    events(send(client_of(alice), url, "A cat", steps="3", seed="1"))
    assert (asked[1][1].drawing.steps, asked[1][1].drawing.seed) == (3, 1)


def test_links_lead_to_the_page(client_of, alice, version, base_model):  # noqa: F811
    client = client_of(alice)
    assert (
        reverse("models:chat", args=[version.uid])
        in client.get(reverse("models:version", args=[version.uid])).text
    )
    page = client.get(reverse("catalog:detail", args=[base_model.name])).text
    assert reverse("catalog:chat", args=[base_model.name]) in page


def test_every_code_of_a_refusal_has_a_status():
    ours = {
        "too_many_streams",
        "not_served",
        "serving_unreachable",
        "endpoint_unreachable",
        "endpoint_broken",
    }
    assert set(chat_views.REFUSALS) <= set(serving_client.STATUS) | ours
