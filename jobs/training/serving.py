"""One model that answers: `python -m jobs.training.serving`, spoken to in JSON lines (serving_protocol.py).

Knows no Django and leaves the machine as little as the trainer does: safetensors only, no hub, no telemetry. It
carries out one task after the other and ends when its standard input does, so it never outlives who started it.
What the libraries print goes to standard error.
"""

import sys
from pathlib import Path

# Before anything else is imported: the installed library `datasets` comes before the app of the same name.
_root = str(Path(__file__).resolve().parents[2])
sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _root] + [_root]

import os  # noqa: E402
import queue  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any, BinaryIO, Protocol  # noqa: E402

import msgspec  # noqa: E402

from jobs.training.events import TrainingFailure  # noqa: E402
from jobs.training.serving_protocol import Cancel, Emit, Load, Refused, Said, Task  # noqa: E402


class Model(Protocol):
    """What is loaded. `answer` emits lines as they come and returns the last one's fields; raises Refused."""

    context: int | None

    def answer(self, task: Task, emit: Emit, is_cancelled: Callable[[], bool]) -> dict[str, Any]: ...


def main() -> int:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    encoder = msgspec.json.Encoder()

    def say(said: Said) -> None:
        out.write(encoder.encode(said) + b"\n")
        out.flush()

    began = time.monotonic()
    try:
        asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=Load)
        if asked.threads:
            os.environ["OMP_NUM_THREADS"] = str(asked.threads)  # read once, when torch is loaded
        model = load(asked)
    except Exception as error:
        failure = explain(error)
        say(Said("failed", code=failure.code, text=failure.message, params=failure.params))
        return 1
    say(Said("ready", context=model.context, seconds=round(time.monotonic() - began, 3)))
    inbox = Inbox(sys.stdin.buffer)
    while (task := inbox.next()) is not None:
        carry_out(model, task, say, inbox)
    return 0


def load(asked: Load) -> Model:
    """The model in the memory. Raises TrainingFailure, with a sentence that a person can act on."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if asked.kind == "image":
        from jobs.training.serving_image import ImageModel

        return ImageModel(asked)
    if asked.kind == "vision":
        from jobs.training.serving_vision import VisionModel

        return VisionModel(asked)
    from jobs.training.serving_text import TextModel

    return TextModel(asked)


def carry_out(model: Model, task: Task, say: Callable[[Said], None], inbox: "Inbox") -> None:
    began = time.monotonic()

    def emit(kind: Any, **fields: Any) -> None:
        say(Said(kind, id=task.id, **fields))

    try:
        ended = model.answer(task, emit, lambda: task.id in inbox.cancelled)
        emit("done", seconds=round(time.monotonic() - began, 4), **ended)
    except Refused as refusal:
        emit("refused", code=refusal.code, text=refusal.message, param=refusal.param)
    except Exception as error:
        failure = explain(error)
        emit("refused", code=failure.code, text=failure.message, params=failure.params)
    inbox.cancelled.discard(task.id)


def explain(error: Exception) -> TrainingFailure:
    """The failure as one sentence with a stable code; what nobody thought of goes to the log with its traceback."""
    if isinstance(error, TrainingFailure):
        return error
    traceback.print_exc()
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        message = "The machine that serves models has too little memory for this."
        return TrainingFailure("out_of_memory", message)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "no message")
    return TrainingFailure("unexpected", f"The model met an unexpected {type(error).__name__}: {first}")


class Inbox:
    """Tasks in the order in which they came, and which of them are not wanted any more."""

    def __init__(self, stream: BinaryIO) -> None:
        self.cancelled: set[int] = set()
        self.tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self.stream = stream
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.stream:
            said = msgspec.json.decode(line)
            if "cancel" in said:
                self.cancelled.add(msgspec.convert(said, Cancel).cancel)
            else:
                self.tasks.put(msgspec.convert(said, Task))
        # Nobody listens any more: not even the task that is being carried out is worth ending.
        os._exit(0)

    def next(self) -> Task | None:
        return self.tasks.get()


if __name__ == "__main__":
    sys.exit(main())
