"""Canonical rows and their tokenised form: what stands in a data file, and what a training step sees."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from jobs.training.events import TrainingFailure

IGNORED = -100  # the label that torch's cross entropy leaves out


class Message(msgspec.Struct, frozen=True):
    """One turn. `weight` 0 on an assistant turn keeps it as context and out of the loss."""

    role: Literal["system", "user", "assistant"]
    content: str
    weight: Literal[0, 1] = 1


Messages = Sequence[Message]


class Row(msgspec.Struct):
    """One canonical row: a conversation, and the line of the file that it stands on."""

    messages: list[Message]
    line: int = 0

    def problem(self) -> str:
        """Why a decoded row cannot be trained with; empty when it can."""
        if not any(message.role == "assistant" for message in self.messages):
            return "it has no assistant turn"
        return out_of_order(self.messages)


@dataclass(frozen=True)
class Tokens:
    """One training row: `input_ids` and `labels` of the same length."""

    input_ids: array
    labels: array

    def __len__(self) -> int:
        return len(self.input_ids)

    def trained(self) -> int:
        """Number of tokens in the loss."""
        return len(self.labels) - self.labels.count(IGNORED)


@dataclass
class Prepared:
    """The tokenised rows of one file, and what had to be done to rows on the way."""

    rows: list[Tokens] = field(default_factory=list)
    truncated_rows: int = 0
    dropped_rows: int = 0  # nothing in the loss: every reply has weight 0, or was cut off
    joined_rows: int = 0  # single-turn rows that became part of a conversation
    system_merged: int = 0  # rows whose system text moved into the first user turn
    split_rows: int = 0  # rows that became one row per reply

    def tokens(self) -> int:
        return sum(map(len, self.rows))

    def trained_tokens(self) -> int:
        return sum(row.trained() for row in self.rows)

    def longest(self) -> int:
        return max(map(len, self.rows), default=0)


RowKind = TypeVar("RowKind", bound=Row)


def read_rows(path: Path, kind: type[RowKind] = Row) -> Iterator[RowKind]:  # type: ignore[assignment]
    """The conversations of a JSON Lines file. Raises TrainingFailure naming the file and the line."""
    decoder = msgspec.json.Decoder(kind)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise bad_row(path, number, str(error)) from None
                if reason := row.problem():
                    raise bad_row(path, number, reason)
                row.line = number
                yield row
    except FileNotFoundError:
        message = f"The data file {path} does not exist."
        raise TrainingFailure("data_missing", message, path=str(path)) from None


def bad_row(path: Path, line: int, reason: str) -> TrainingFailure:
    message = f"{path.name}, line {line} is not a usable conversation: {reason.rstrip('.')}."
    return TrainingFailure("data_row_invalid", message, file=path.name, line=line, reason=reason)


def out_of_order(messages: Messages) -> str:
    """What is wrong with who speaks first; empty when nothing is."""
    roles = [message.role for message in messages]
    if "system" in roles[1:]:
        return "only the first message may be a system message"
    if roles[0] == "assistant" or roles[:2] == ["system", "assistant"]:
        return "an assistant turn comes before the first user turn"
    return ""


def without_tail(messages: Messages) -> list[Message]:
    """Up to the last turn in the loss, what comes after it teaches nothing; empty when none is in the loss."""
    trained = [index for index, message in enumerate(messages) if is_trained(message)]
    return list(messages[: trained[-1] + 1]) if trained else []


def is_trained(message: Message) -> bool:
    return message.role == "assistant" and message.weight == 1
