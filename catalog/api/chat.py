"""OpenAI's `chat.completions`, streamed or whole: any base model, published version or checkpoint of the workspace.

Where an operator has registered a server for a model, it gets the body as it came, and its answer is passed on: it may
know tools and more. Here, models on transformers answer plain text, several choices one after the other; what they
cannot do is refused rather than ignored. A connection that is closed ends the generation.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from http import HTTPStatus
from itertools import chain
from typing import Any

import msgspec
from django.http import HttpRequest, StreamingHttpResponse
from msgspec import UNSET, UnsetType

from catalog import serving_client, serving_forwarding
from catalog.serving_client import Unanswered
from catalog.serving_request import LIMITS, MOST_CHOICES, MOST_SEED, MOST_STOPS, MOST_TURNS
from catalog.serving_targets import Target, find
from console.api.errors import Refused, invalid, not_found
from console.api.json_bodies import convert
from console.api.keys import Caller
from console.api.openai import Endpoint
from jobs.training.serving_protocol import Role, Said, Sampling, Task, Turn

Chunk = dict[str, Any]
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class ImageUrl(msgspec.Struct):
    url: str


class Part(msgspec.Struct):
    """A piece of a message."""

    type: str
    text: str = ""
    image_url: ImageUrl | None = None


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = False


class ChatBody(msgspec.Struct):
    """The fields that are understood; null is the same as left out. `top_k` and `repetition_penalty` are vLLM's."""

    model: str
    messages: list[Message]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    n: int | None = None
    # What models here cannot do, named so that it is refused.
    logprobs: Any = None
    logit_bias: Any = None
    tools: Any = None
    functions: Any = None
    response_format: Any = UNSET


def create(caller: Caller, request: HttpRequest) -> Chunk | StreamingHttpResponse:
    raw = _raw(request.body)
    body = convert(raw, ChatBody)
    target = _target(caller, body.model)
    try:
        if (endpoint := target.endpoint()) is not None:
            if not body.stream:
                return serving_forwarding.complete(endpoint, raw)
            return _streamed(serving_forwarding.stream(endpoint, raw))
        _check_numbers(body)
        task = task_of(body, target)
        answers = _choices(target, task, body.n or 1)
        if not body.stream:
            return _whole(answers, target)
        wants_usage = bool(body.stream_options and body.stream_options.include_usage)
        return _streamed(_chunks(answers, target, wants_usage))
    except Unanswered as refused:
        raise _refused(refused) from refused


def _raw(body: bytes) -> dict[str, Any]:
    try:
        raw = msgspec.json.decode(body or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"The body is not valid JSON: {error}."
        raise Refused(HTTPStatus.BAD_REQUEST, "MalformedJSON", message) from error
    if not isinstance(raw, dict):
        raise invalid("The body must be a JSON object.")
    return raw


def _target(caller: Caller, name: str) -> Target:
    target = find(caller.workspace, name)
    if target is None:
        refusal = not_found(f"The model {name!r} does not exist in this workspace.", "model")
        refusal.code = "model_not_found"
        raise refusal
    if target.draws:
        raise invalid(f"{name} draws pictures and does not answer messages.", "model")
    return target


def _check_numbers(body: ChatBody) -> None:
    given = {name: getattr(body, name) for name in LIMITS} | {
        "max_completion_tokens": body.max_completion_tokens
    }
    for name, value in given.items():
        limit = LIMITS[name.replace("completion_", "")]
        if value is not None and not limit.allows(value):
            raise invalid(f"{name} must lie between {limit.low:g} and {limit.high:g}.", name)


def task_of(body: ChatBody, target: Target) -> Task:
    """What our own processes are asked. Raises Refused for what they cannot do."""
    for name in ("logprobs", "logit_bias", "tools", "functions"):
        if getattr(body, name):
            raise _unsupported(f"Models that run here know no {name}.", name)
    if not 1 <= (body.n or 1) <= MOST_CHOICES:
        raise invalid(f"n must lie between 1 and {MOST_CHOICES}.", "n")
    if not isinstance(body.response_format, UnsetType) and body.response_format not in (
        None,
        {"type": "text"},
    ):
        raise _unsupported("Models that run here write plain text only.", "response_format")
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    if len(stops) > MOST_STOPS:
        raise invalid(f"There may be at most {MOST_STOPS} stop texts.", "stop")
    if body.seed is not None and abs(body.seed) > MOST_SEED:
        raise invalid("seed must be a whole number of 64 bits.", "seed")
    turns, picture = _turns(body.messages, target)
    given = {name: getattr(body, name) for name in LIMITS if getattr(body, name) is not None}
    if body.max_completion_tokens is not None:
        given["max_tokens"] = body.max_completion_tokens
    sampling = Sampling(**given, stop=[stop for stop in stops if stop], seed=body.seed)
    return Task(0, turns, sampling, picture=picture)


def _unsupported(message: str, param: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, "unsupported_parameter", message, param)


def _turns(messages: list[Message], target: Target) -> tuple[list[Turn], str | None]:
    """The messages as texts, and the picture among them, of which there may be one."""
    if not messages:
        raise invalid("There must be at least one message.", "messages")
    if len(messages) > MOST_TURNS:
        raise invalid(f"There may be at most {MOST_TURNS} messages.", "messages")
    turns, pictures = [], []
    for place, message in enumerate(messages):
        param = f"messages[{place}]"
        if message.role not in ROLES:
            raise invalid(f"The role must be one of {', '.join(ROLES)}.", f"{param}.role")
        parts = message.content or ""
        if isinstance(parts, str):
            parts = [Part("text", parts)]
        if any(part.type not in ("text", "image_url") for part in parts):
            raise invalid("A part of a message is of type text or image_url.", f"{param}.content")
        seen = [part.image_url.url if part.image_url else "" for part in parts if part.type == "image_url"]
        if seen and not (target.sees and message.role == "user"):
            raise invalid("This model sees no pictures here.", f"{param}.content")
        pictures += [_data_of(url, param) for url in seen]
        text = "\n".join(part.text for part in parts if part.type == "text")
        turns.append(Turn(ROLES[message.role], text))
    if len(pictures) > 1:
        raise invalid("A conversation may have one picture.", "messages")
    if not any(turn.role == "user" for turn in turns):
        raise invalid("There must be a message of the user.", "messages")
    return turns, pictures[0] if pictures else None


def _data_of(url: str, param: str) -> str:
    """The base64 of a picture. Addresses elsewhere are not fetched: a caller would have the console do it."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise invalid("A picture is sent as data:image/…;base64,…", f"{param}.content")
    return data


def _refused(refused: Unanswered) -> Refused:
    return Refused(refused.status, refused.code, str(refused), refused.param)


# --- Answers -------------------------------------------------------------------------------------------------


def _choices(target: Target, task: Task, count: int) -> Iterator[Generator[Said | None]]:
    """As many answers, each begun when the one before has been read. With a seed each has one of its own."""
    for number in range(count):
        seed = task.sampling.seed
        if seed is not None:
            seed += -number if seed > 0 else number  # within 64 bits
        sampling = msgspec.structs.replace(task.sampling, seed=seed)
        yield serving_client.answer(target, msgspec.structs.replace(task, sampling=sampling))


def _usage(ends: list[Said]) -> dict[str, int]:
    """Of all choices together; they share the prompt."""
    prompt = ends[0].prompt_tokens if ends else 0
    completion = sum(end.completion_tokens for end in ends)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def _head(target: Target, kind: str) -> Chunk:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": target.name,
    }


def _whole(answers: Iterable[Iterable[Said | None]], target: Target) -> Chunk:
    """Raises Unanswered."""
    choices, ends = [], list[Said]()
    for index, answer in enumerate(answers):
        texts, end = [], Said("done")
        for said in answer:
            if said is not None and said.type == "delta":
                texts.append(said.text)
            elif said is not None and said.type == "done":
                end = said
        message = {"role": "assistant", "content": "".join(texts), "refusal": None}
        choices.append(
            {"index": index, "message": message, "logprobs": None, "finish_reason": end.finish_reason}
        )
        ends.append(end)
    return _head(target, "chat.completion") | {"choices": choices, "usage": _usage(ends)}


def _chunks(
    answers: Iterable[Generator[Said | None]], target: Target, wants_usage: bool
) -> Generator[Chunk | None]:
    """As OpenAI streams it: of each choice the role, texts and the reason of its end, and the usage if it is wanted."""
    head = _head(target, "chat.completion.chunk") | ({"usage": None} if wants_usage else {})

    def chunk(index: int, delta: dict[str, str], reason: str | None = None) -> Chunk:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return head | {"choices": [choice]}

    ends = []
    for index, answer in enumerate(answers):
        began = False
        with closing(answer):
            for said in answer:
                if said is None:
                    yield None
                    continue
                if not began:
                    began = True
                    yield chunk(index, {"role": "assistant", "content": ""})
                if said.type == "delta":
                    yield chunk(index, {"content": said.text})
                elif said.type == "done":
                    yield chunk(index, {}, said.finish_reason)
                    ends.append(said)
    if wants_usage:
        yield head | {"choices": [], "usage": _usage(ends)}


def _streamed(chunks: Generator[Chunk | None]) -> StreamingHttpResponse:
    """Waits for the first chunk, so that what is refused has its status. Raises Unanswered."""
    first = next((chunk for chunk in chunks if chunk is not None), None)
    return event_stream(_events(chunks, first))


def _events(chunks: Generator[Chunk | None], first: Chunk | None) -> Iterator[bytes]:
    try:
        with closing(chunks):
            for chunk in chain([first], chunks):
                # A comment, so that a connection that was closed is noticed while nothing comes.
                yield b"data: " + msgspec.json.encode(chunk) + b"\n\n" if chunk is not None else b": wait\n\n"
        yield b"data: [DONE]\n\n"
    except Unanswered as refused:
        error = {"message": str(refused), "type": "server_error", "param": None, "code": refused.code}
        yield b"data: " + msgspec.json.encode({"error": error}) + b"\n\n"


def event_stream(events: Iterator[bytes]) -> StreamingHttpResponse:
    response = StreamingHttpResponse(events, content_type="text/event-stream; charset=utf-8")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"  # nginx would collect the pieces
    return response


COMPLETIONS = {"post": Endpoint(create)}
