"""Rows with replies that are compared or judged -> token ids: one question, and the replies to it.

Questions are rendered by the chat template as they are in supervised fine-tuning, and a reply ends with what closes
its turn. Nothing of the question is in the loss.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from jobs.training.chat import render, tokenise
from jobs.training.data import BLOCK, blocks, rendered_row
from jobs.training.rows import IGNORED, Message, Messages, Prepared, Row, Tokens, out_of_order, read_rows


class Question(Row):
    """A conversation that ends with a question."""

    def replies(self) -> list[str]:
        """The replies to the question, in an order that `examples` knows."""
        raise NotImplementedError

    def problem(self) -> str:
        if not self.messages or self.messages[-1].role != "user":
            return "its messages do not end with a user turn"
        if not all(reply.strip() for reply in self.replies()):
            return "one of its replies is empty"
        return out_of_order(self.messages)

    def asked(self) -> list[Message]:
        """The conversation up to the reply; its earlier replies are context and not in the loss."""
        return [Message(message.role, message.content, 0) for message in self.messages]

    def answered(self) -> list[Message]:
        """The conversation with its best reply, for samples."""
        return [*self.asked(), Message("assistant", self.replies()[0])]


class PreferenceRow(Question):
    """One reply that was chosen, one that was rejected."""

    chosen: str = ""
    rejected: str = ""

    def replies(self) -> list[str]:
        return [self.chosen, self.rejected]


class JudgedRow(Question):
    """One reply, and whether it is a good one."""

    completion: str = ""
    label: bool = True

    def replies(self) -> list[str]:
        return [self.completion]


class Response(msgspec.Struct):
    """A reply and how good it is."""

    content: str
    score: float


class RankedRow(Question):
    """Replies with scores, higher is better."""

    responses: list[Response] = []

    def replies(self) -> list[str]:
        return [response.content for response in self.responses]

    def problem(self) -> str:
        return super().problem() if len(self.responses) > 1 else "it has fewer than two replies"


@dataclass(frozen=True)
class Example:
    """A question and the replies to it that a step sees, as token ids; `label` is that of a single reply."""

    prompt: array
    replies: tuple[array, ...]
    label: bool = True

    def __len__(self) -> int:
        """Tokens of all its sequences."""
        return sum(len(self.prompt) + len(reply) for reply in self.replies)

    def longest(self) -> int:
        return len(self.prompt) + max(map(len, self.replies))

    def trained(self) -> int:
        return sum(map(len, self.replies))


@dataclass
class PreparedExamples(Prepared):
    """As `Prepared`; its rows are examples."""

    rows: list[Example] = field(default_factory=list)  # type: ignore[assignment]

    def longest(self) -> int:
        return max((example.longest() for example in self.rows), default=0)


Examples = Callable[[Any, array, Sequence[array]], list[Example]]


def prepare(
    path: Path,
    tokenizer: Any,
    max_length: int,
    kind: type[Question],
    examples: Examples,
    between_blocks: Callable[[], None] = lambda: None,
) -> PreparedExamples:
    """Read, render, tokenise and shorten the rows of a file. `examples` makes of a row, its question and its replies
    what a step sees; a row that gives nothing is dropped. Raises TrainingFailure for a row that cannot be used.
    """
    prepared = PreparedExamples()
    for block in blocks(read_rows(path, kind), BLOCK):
        between_blocks()
        rendered = []
        for row in block:
            for reply in row.replies():
                whole = Row([*row.asked(), Message("assistant", reply)], row.line)
                rendered.append(rendered_row(path, tokenizer, whole, prepared)[-1])
        encoded = iter(zip(rendered, tokenise(tokenizer, [text for _, text in rendered]), strict=True))
        for row in block:
            own = [next(encoded) for _ in row.replies()]
            prompt, replies = _divide([tokens for _, tokens in own])
            if len(prompt) + max(map(len, replies)) > max_length:
                prepared.truncated_rows += 1
                prompt, replies = _shorten(tokenizer, [messages for (messages, _), _ in own], max_length)
            found = examples(row, prompt, replies)
            prepared.rows += found
            prepared.dropped_rows += not found
    return prepared


def _divide(encoded: Sequence[Tokens]) -> tuple[array, list[array]]:
    """The tokens that all sequences begin with, as far as none is part of a reply, and the rest of each."""
    ids = [tokens.input_ids for tokens in encoded]
    starts = [
        next((index for index, label in enumerate(tokens.labels) if label != IGNORED), len(tokens))
        for tokens in encoded
    ]
    length = next((i for i in range(min(starts)) if any(each[i] != ids[0][i] for each in ids)), min(starts))
    return ids[0][:length], [each[length:] for each in ids]


def _shorten(tokenizer: Any, samples: Sequence[Messages], max_length: int) -> tuple[array, list[array]]:
    """Make a question and its replies fit, as `data.shorten` does: the oldest turns are left out, and the question
    is cut only when the last turn alone is too long; a reply loses its end only beyond three quarters of the length.
    """
    first = samples[0]
    head = 1 if first[0].role == "system" else 0
    starts = [index for index in range(head, len(first)) if first[index].role == "user"]
    prompt: array = array("i")
    replies: list[array] = []
    for start in starts[1:] or starts:
        kept = [[*sample[:head], *sample[start:]] for sample in samples]
        prompt, replies = _divide(tokenise(tokenizer, [render(tokenizer, each) for each in kept]))
        if len(prompt) + max(map(len, replies)) <= max_length:
            return prompt, replies
    longest = max(map(len, replies))
    room = max(min(len(prompt), max_length // 4), max_length - longest)
    if room < len(prompt):
        prompt = prompt[:1] + prompt[len(prompt) - room + 1 :]
    return prompt, [reply[: max_length - len(prompt)] for reply in replies]
