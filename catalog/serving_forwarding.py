"""Answers of a registered server that speaks OpenAI's API (vLLM and others)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any
from urllib.parse import urlsplit

import msgspec
import urllib3
from cryptography.fernet import InvalidToken

from catalog.models import ServingEndpoint
from catalog.serving_client import Unanswered, http, lines, slots
from console.endpoints import EndpointRefused, check_endpoint
from console.secrets import SERVING, decrypt
from jobs.training.serving_protocol import Said, Task

# Of what a server says about its failure, in bytes.
MOST_ERROR = 64 * 1024
MOST_ANSWER = 32 * 1024 * 1024


def check_url(url: str) -> None:
    """Raises EndpointRefused for what is no address of a server, or one inside the network that is not allowed."""
    parts = urlsplit(url)
    check_endpoint(f"{parts.scheme}://{parts.netloc}")
    if parts.query or parts.fragment:
        raise EndpointRefused("An address ends with its path, such as /v1.")


def complete(endpoint: ServingEndpoint, body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer to a body of chat.completions, under the name that the caller knows. Raises Unanswered."""
    with slots():
        response = _ask(endpoint, body)
        try:
            answer = msgspec.json.decode(response.read(MOST_ANSWER))
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError) as error:
            raise _broken() from error
        finally:
            response.close()
        if not isinstance(answer, dict):
            raise _broken()
        return answer | {"model": body["model"]}


def stream(endpoint: ServingEndpoint, body: dict[str, Any]) -> Generator[dict[str, Any]]:
    """The chunks of a streamed answer. Raises Unanswered. Closing it closes the connection to the server."""
    with slots():
        response = _ask(endpoint, body)
        try:
            for line in lines(response):
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    return
                if line.startswith(b"data:") and data:
                    chunk = msgspec.json.decode(data)
                    if "error" in chunk:
                        raise _refusal(502, chunk)
                    yield chunk | {"model": body["model"]}
            raise _broken()  # the connection ended before the answer did
        except (urllib3.exceptions.HTTPError, msgspec.DecodeError, TypeError) as error:
            raise _broken() from error
        finally:
            response.close()


def _ask(endpoint: ServingEndpoint, body: dict[str, Any]) -> urllib3.BaseHTTPResponse:
    headers = {"Content-Type": "application/json"}
    try:
        check_url(endpoint.url)
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {decrypt(endpoint.api_key, SERVING)}"
    except EndpointRefused as refused:
        raise Unanswered(502, "endpoint_refused", str(refused)) from refused
    except InvalidToken as error:
        message = "The key of the server that answers for this model can no longer be read; an operator sets it anew."
        raise Unanswered(502, "endpoint_refused", message) from error
    address = endpoint.url.rstrip("/") + "/chat/completions"
    sent = msgspec.json.encode(body | {"model": endpoint.served_name})
    try:
        response = http().request(
            "POST", address, body=sent, headers=headers, preload_content=False, redirect=False
        )
    except urllib3.exceptions.HTTPError as error:
        message = "The server that answers for this model cannot be reached."
        raise Unanswered(502, "endpoint_unreachable", message) from error
    if response.status == 200:
        return response
    try:
        said = msgspec.json.decode(response.read(MOST_ERROR))
    except (urllib3.exceptions.HTTPError, msgspec.DecodeError):
        said = None
    finally:
        response.close()
    raise _refusal(response.status, said)


def _refusal(status: int, said: Any) -> Unanswered:
    """What the server says against it, in its words; its own refusal of our key is not the caller's fault."""
    error = said.get("error", said) if isinstance(said, dict) else {}
    error = error if isinstance(error, dict) else {"message": str(error)}
    message = str(error.get("message") or f"The server that answers for this model said {status}.")
    passed_on = status if status in (400, 404, 413, 422, 429, 503) else 502
    code = error.get("code") if isinstance(error.get("code"), str) else None
    param = error.get("param") if isinstance(error.get("param"), str) else None
    return Unanswered(passed_on, code or "endpoint_failed", message, param)


def _broken() -> Unanswered:
    return Unanswered(502, "endpoint_broken", "The server that answers for this model broke off its answer.")


def answer(endpoint: ServingEndpoint, task: Task) -> Generator[Said | None]:
    """The same as `serving_client.answer`, by a registered server. Raises Unanswered."""
    reason = "stop"
    usage: dict[str, int] = {}
    for chunk in stream(endpoint, _body(task)):
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or ():
            if text := (choice.get("delta") or {}).get("content"):
                yield Said("delta", text=text)
            reason = choice.get("finish_reason") or reason
    yield Said(
        "done",
        finish_reason="length" if reason == "length" else "stop",
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", 0),
    )


def _body(task: Task) -> dict[str, Any]:
    """A task as OpenAI's API puts it; what is as usual is left out, because not every server knows everything."""
    messages: list[dict[str, Any]] = [{"role": turn.role, "content": turn.content} for turn in task.turns]
    if task.picture is not None:
        place = next(index for index, turn in enumerate(task.turns) if turn.role == "user")
        address = {"url": f"data:image/png;base64,{task.picture}"}
        parts = [
            {"type": "image_url", "image_url": address},
            {"type": "text", "text": task.turns[place].content},
        ]
        messages[place] = {"role": "user", "content": parts}
    sampling = msgspec.to_builtins(task.sampling)
    usual = msgspec.to_builtins(type(task.sampling)())
    given = {key: value for key, value in sampling.items() if value != usual[key]}
    return {
        "model": "",
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    } | given
