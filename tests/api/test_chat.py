"""`/v1/chat/completions` through OpenAI's own client: a tiny model that answers, a server elsewhere, refusals."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import openai
import pytest

from catalog import serving, serving_app, serving_client
from catalog.models import BaseModel, Model, ModelVersion, ServingEndpoint
from catalog.models.registry import ModelVersionState
from catalog.serving import Pool
from console.secrets import SERVING, encrypt
from jobs.models import Checkpoint
from jobs.run_files import run_directory
from tests.api.serving import server_elsewhere, serving_program
from tests.jobs.conftest import base_model, make_run  # noqa: F401  (fixtures)
from tests.tiny_models import make_tiny

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]

FAKE = [sys.executable, "-S", str(Path(__file__).parent.parent / "catalog" / "serving_fake.py")]
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Good day"}]


@pytest.fixture
def program(settings, monkeypatch):
    """The program that serves models, whose models say what they are told."""
    monkeypatch.setattr(serving, "PATIENCE", 0.02)
    with serving_program() as settings.SERVING_URL:
        pool = Pool(2, 600, FAKE)
        monkeypatch.setattr(serving_app, "pool", lambda: pool)
        yield pool
        pool.close()


@pytest.fixture
def fake(program, base_model, tmp_path) -> BaseModel:  # noqa: F811
    """A base model whose process is a fake."""
    base_model.weights_location = str(tmp_path)
    base_model.save()
    return base_model


@pytest.fixture
def client(openai_as, make_key, alice):
    return openai_as(make_key(alice).token)


def ask(client, text="Good day", model="Toy-8K", **options):
    return client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **options
    )


@pytest.mark.training
def test_a_tiny_model_answers_whole_and_streamed_alike(
    client,
    program,
    base_model,  # noqa: F811
    settings,
    tmp_path_factory,
):
    """The same seed gives the same text both ways, tokens are counted truly, and stop texts end it."""
    program.command[:] = [sys.executable, "-m", "jobs.training.serving"]
    base_model.weights_location = str(make_tiny(tmp_path_factory.mktemp("tiny"), "llama"))
    base_model.save()
    asked = {"model": "Toy-8K", "messages": HELLO, "seed": 7, "max_completion_tokens": 12}
    whole = client.chat.completions.create(**asked)
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    choice = whole.choices[0]
    assert text == choice.message.content != ""
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens == 12 and choice.finish_reason == "length"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 12
    # Greedy decoding needs no seed; the first character of its answer ends it before it began.
    greedy = client.chat.completions.create(**asked | {"temperature": 0, "seed": None})
    first = greedy.choices[0].message.content[0]
    stopped = client.chat.completions.create(**asked | {"temperature": 0, "stop": first})
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("", "stop")
    assert stopped.usage.completion_tokens < 12
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**asked | {"max_completion_tokens": 100_000})
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")


def test_the_first_chunk_has_the_role_and_the_last_the_usage(client, fake):
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[2:4]] == ["Good ", "day "]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 5)
    assert {chunk.model for chunk in chunks} == {"Toy-8K"} and len({chunk.id for chunk in chunks}) == 1


def test_several_choices_share_the_prompt(client, fake):
    one, several = ask(client), ask(client, n=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    assert several.choices[2].message.content == one.choices[0].message.content
    assert several.usage.prompt_tokens == one.usage.prompt_tokens
    assert several.usage.completion_tokens == 3 * one.usage.completion_tokens
    streamed = list(ask(client, n=2, stream=True))
    assert {chunk.choices[0].index for chunk in streamed} == {0, 1}


def test_refusals_of_the_model_have_their_status_when_streamed_too(client, fake):
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, "refuse", stream=stream)
        assert caught.value.code == "context_length_exceeded"


def test_a_process_that_dies_is_said(client, fake):
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, "die")
    assert (caught.value.status_code, caught.value.code) == (503, "killed")


def test_a_stream_that_is_closed_ends_the_generation(client, fake, program):
    with ask(client, "slow " * 2000, stream=True) as stream:
        next(stream)
    # The model is free again at once: the two thousand words would take two minutes.
    assert ask(client, "next", timeout=20).choices[0].message.content.endswith("next ")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 9}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"seed": 2**70}, "seed"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
                ]
            },
            "messages[0].content",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_its_field(client, base_model, wrong, param):  # noqa: F811
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "Toy-8K", "messages": HELLO} | wrong)
    assert caught.value.param == param


@pytest.fixture
def trained(workspace, base_model, tmp_path) -> ModelVersion:  # noqa: F811
    model = Model.objects.create(workspace=workspace, name="kefu", model_type="text2text")
    (tmp_path / "storage" / "models" / "x").mkdir(parents=True)
    return ModelVersion.objects.create(
        model=model,
        number=1,
        base_model=base_model,
        method="FullFineTuning",
        state=ModelVersionState.READY,
        path="models/x",
    )


def test_versions_and_checkpoints_answer_under_their_names(client, fake, trained, make_run):  # noqa: F811
    run = make_run(method="FullFineTuning")
    path = "checkpoints/checkpoint-10"
    Checkpoint.objects.create(run=run, step=10, path=path, created_at=run.created_at)
    (run_directory(run) / path).mkdir(parents=True)
    names = [f"ft:Toy-8K:kefu:{trained.uid}", f"ft:Toy-8K:{run.uid}:ckpt-step-10"]
    answers = [ask(client, model=name) for name in [*names, trained.uid]]
    assert [answer.model for answer in answers] == [*names, names[0]]
    pids = [answer.choices[0].message.content.split()[0] for answer in answers]
    assert pids[0] == pids[2] != pids[1]  # a process a model


def test_viewers_may_ask_and_strangers_find_nothing(openai_as, make_key, bob, charlie, fake, trained):
    assert ask(openai_as(make_key(bob).token), model=trained.uid).choices[0].message.content
    with pytest.raises(openai.NotFoundError) as caught:
        ask(openai_as(make_key(charlie).token), model=trained.uid)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_without_the_program_it_is_said_what_is_missing(client, base_model, settings):  # noqa: F811
    settings.SERVING_URL = ""
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client)
    assert caught.value.code == "not_served"


def test_more_streams_than_a_web_process_has_room_for_are_refused(client, fake, monkeypatch):
    one = threading.BoundedSemaphore(1)
    monkeypatch.setattr(serving_client, "_slots", lambda: one)
    with ask(client, "slow " * 500, stream=True) as stream:
        next(stream)
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client)
    assert caught.value.code == "too_many_streams"


@pytest.fixture
def elsewhere(base_model, settings):  # noqa: F811
    """A registered server that answers for Toy-8K; gives what it was asked."""
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.1"]
    with server_elsewhere() as (url, asked):
        ServingEndpoint.objects.create(
            base_model=base_model, url=url, served_name="llama", api_key=encrypt("sesame", SERVING)
        )
        yield asked


def test_a_registered_server_answers_with_everything_passed_on(client, elsewhere):
    tools = [{"type": "function", "function": {"name": "x"}}]
    answer = ask(client, tools=tools, n=1, extra_body={"top_k": -1})
    assert (answer.model, answer.choices[0].message.content, answer.usage.total_tokens) == (
        "Toy-8K",
        "Hello",
        5,
    )
    asked = elsewhere[0]
    assert (asked["path"], asked["key"]) == ("/v1/chat/completions", "Bearer sesame")
    assert (asked["model"], asked["tools"]) == ("llama", tools)


def test_a_registered_server_streams(client, elsewhere):
    chunks = list(ask(client, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello"
    assert {chunk.model for chunk in chunks} == {"Toy-8K"}


def test_what_a_registered_server_says_against_it_is_passed_on(client, elsewhere):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "fail", stream=True)
    assert (caught.value.code, caught.value.param) == ("odd", "messages")
    with pytest.raises(openai.APIError, match="broke off"):
        list(ask(client, "break", stream=True))


def test_a_registered_server_inside_the_network_must_be_allowed(client, elsewhere, settings):
    settings.ALLOWED_PRIVATE_ENDPOINTS = []
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client)
    assert (caught.value.status_code, caught.value.code, elsewhere) == (502, "endpoint_refused", [])
