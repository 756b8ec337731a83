"""What a process that answers with a model is told and says: JSON lines on its standard input and output.

The first line in is a Load, each later one a Task or a Cancel. The first line out is `ready` or `failed`; a task ends
with `done` or `refused`. Imports nothing heavy, so the console uses the same classes.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

# Says one line of a task: its type, and the fields that count.
Emit = Callable[..., None]

Kind = Literal["text", "vision", "image"]
Role = Literal["system", "user", "assistant"]


class Load(msgspec.Struct):
    """One model: a directory of full weights (a pipeline for `image`), and an adapter that is laid over them.

    `context` is taken where the weights do not say how much the model reads, in tokens.
    """

    kind: Kind
    base: str
    adapter: str | None = None
    trust_remote_code: bool = False
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None
    context: int | None = None


class Turn(msgspec.Struct):
    role: Role
    content: str


class Sampling(msgspec.Struct):
    """How the next token is chosen. Temperature 0 takes the likeliest; `top_k` 0 is no limit."""

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: list[str] = []
    seed: int | None = None


class Drawing(msgspec.Struct):
    """How a picture is drawn; what is None is the pipeline's own."""

    steps: int | None = None
    guidance: float | None = None
    seed: int | None = None


class Task(msgspec.Struct):
    """One answer. `picture` is the one that the last user turn is about, base64 of its file; a picture to be drawn is
    described by that turn.
    """

    id: int
    turns: list[Turn]
    sampling: Sampling = msgspec.field(default_factory=Sampling)
    drawing: Drawing = msgspec.field(default_factory=Drawing)
    picture: str | None = None


class Cancel(msgspec.Struct):
    """The task is not to be gone on with; it ends with `done` all the same."""

    cancel: int


class Said(msgspec.Struct):
    """One line out. Which fields count, `type` says:

    ready (context, seconds) · failed (code, text, params) · progress (step, steps) · delta (text) · picture (text:
    base64 of a PNG file) · refused (code, text, params, param) · done (finish_reason, prompt_tokens,
    completion_tokens, seconds)
    """

    type: Literal["ready", "failed", "progress", "delta", "picture", "refused", "done"]
    id: int = 0
    text: str = ""
    code: str = ""
    params: dict[str, Any] = {}
    param: str | None = None
    step: int = 0
    steps: int = 0
    context: int | None = None
    finish_reason: Literal["stop", "length", "cancelled"] = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


class Refused(Exception):
    """A task that this model does not carry out; `param` is the field of it that is to blame."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param
