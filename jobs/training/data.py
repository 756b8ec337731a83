"""Canonical rows -> token ids and labels. Needs a tokenizer and nothing else of the training libraries.

A label is the token id where the loss counts and IGNORED elsewhere: it counts on every assistant turn with
weight 1, including the token that ends the turn, and nowhere else.
"""

import random
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from jinja2 import TemplateError

from jobs.training.events import TrainingFailure

IGNORED = -100  # the label that torch's cross entropy leaves out
BLOCK = 256  # rows that are tokenised in one call: enough for the tokenizer's own threads, little to wait for

# For base models without a chat template: plain words that any tokenizer knows, and a reply ends with EOS. It
# is saved with the trained model, so that whoever serves it builds prompts in the same way.
NEUTRAL_TEMPLATE = (
    "{{ bos_token or '' }}"
    "{% for message in messages %}"
    "{{ {'system': '### System:', 'user': '### User:', 'assistant': '### Assistant:'}[message['role']] }}"
    "{{ '\n' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}"
    "{{ '\n\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)


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


def read_rows(path: Path, kind: type[RowKind] = Row) -> list[RowKind]:  # type: ignore[assignment]
    """All conversations of a JSON Lines file. Raises TrainingFailure naming the file and the line."""
    decoder = msgspec.json.Decoder(kind)
    rows = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = decoder.decode(line)
                except msgspec.DecodeError as error:
                    raise bad_row(path, number, str(error)) from None
                if reason := _unusable(row):
                    raise bad_row(path, number, reason)
                row.line = number
                rows.append(row)
    except FileNotFoundError:
        message = f"The data file {path} does not exist."
        raise TrainingFailure("data_missing", message, path=str(path)) from None
    return rows


def bad_row(path: Path, line: int, reason: str) -> TrainingFailure:
    message = f"{path.name}, line {line} is not a usable conversation: {reason.rstrip('.')}."
    return TrainingFailure("data_row_invalid", message, file=path.name, line=line, reason=reason)


def _unusable(row: Row) -> str:
    """Why a decoded row cannot be trained with; empty when it can."""
    roles = [message.role for message in row.messages]
    if "assistant" not in roles:
        return "it has no assistant turn"
    if "system" in roles[1:]:
        return "only the first message may be a system message"
    if roles[0] == "assistant" or roles[:2] == ["system", "assistant"]:
        return "an assistant turn comes before the first user turn"
    return ""


def prepare(
    path: Path,
    tokenizer: Any,
    max_length: int,
    *,
    join_probability: float = 0.0,
    seed: int = 42,
    between_blocks: Callable[[], None] = lambda: None,
) -> Prepared:
    """Read, join, render, tokenise and shorten the rows of a file.

    `join_probability` is the hyperparameter pseudoSamplingProb. `between_blocks` is called now and then and
    may raise to stop. Raises TrainingFailure for a row that cannot be read or rendered.
    """
    prepared = Prepared()
    rows = []
    for row in read_rows(path):
        messages = without_tail(row.messages)
        if messages:
            rows.append(Row(messages, row.line))
        else:
            prepared.dropped_rows += 1
    if join_probability > 0:
        rows = join_single_turns(rows, tokenizer, max_length, join_probability, random.Random(seed), prepared)  # noqa: S311
    for block in _blocks(rows, BLOCK):
        between_blocks()
        samples: list[Messages] = []
        for row in block:
            try:
                samples += variants(tokenizer, row.messages, prepared)
            except TemplateError as error:
                reason = f"the chat template of the base model refuses it ({error})"
                raise bad_row(path, row.line, reason) from None
        for messages, tokens in zip(samples, encode(tokenizer, samples), strict=True):
            if len(tokens) > max_length:
                prepared.truncated_rows += 1
                tokens = shorten(tokenizer, messages, max_length)
            if tokens.trained():
                prepared.rows.append(tokens)
            else:
                prepared.dropped_rows += 1
    return prepared


def without_tail(messages: Messages) -> list[Message]:
    """Up to the last turn in the loss: what comes after it teaches nothing. Empty when no turn is in the
    loss.
    """
    trained = [index for index, message in enumerate(messages) if _is_trained(message)]
    return list(messages[: trained[-1] + 1]) if trained else []


def _is_trained(message: Message) -> bool:
    return message.role == "assistant" and message.weight == 1


# --- Conversations out of single turns ----------------------------------------------------------------------


def join_single_turns(
    rows: list[Row],
    tokenizer: Any,
    max_length: int,
    probability: float,
    rng: random.Random,
    prepared: Prepared,
) -> list[Row]:
    """Join a share of the single-turn rows into conversations of 2 to 5 turns that fit into `max_length`.

    Seed, 伪多轮概率: data are concatenated to improve the effect on long texts. Only rows with the same system
    text meet, because a conversation has one. A row that finds no partner stays as it is.
    """
    single = [row for row in rows if _is_single_turn(row)]
    chosen = rng.sample(single, round(probability * len(single)))
    lengths = [len(tokens) for tokens in encode(tokenizer, [row.messages for row in chosen])]
    groups: dict[str, list[tuple[Row, int]]] = {}
    for row, length in zip(chosen, lengths, strict=True):
        system = row.messages[0].content if row.messages[0].role == "system" else ""
        groups.setdefault(system, []).append((row, length))
    joined: list[Row] = []
    for group in groups.values():
        while group:
            first, total = group.pop()
            messages, turns = list(first.messages), rng.randint(2, 5)
            while group and turns > 1 and total + group[-1][1] <= max_length:
                row, length = group.pop()
                messages += [message for message in row.messages if message.role != "system"]
                total, turns = total + length, turns - 1
            if len(messages) > len(first.messages):
                prepared.joined_rows += sum(message.role == "assistant" for message in messages)
            joined.append(Row(messages, first.line))
    taken = {id(row) for row in chosen}
    return [row for row in rows if id(row) not in taken] + joined


def _is_single_turn(row: Row) -> bool:
    return [message.role for message in row.messages if message.role != "system"] == ["user", "assistant"]


# --- Text and where the replies are in it -------------------------------------------------------------------


class NotIncrementalError(Exception):
    """The chat template rewrites earlier turns when later ones follow."""


def variants(tokenizer: Any, messages: Messages, prepared: Prepared) -> list[Messages]:
    """The conversation as the chat template can show it, normally just itself.

    - A template that refuses system messages gets the system text at the start of the first user turn.
    - A template that rewrites earlier turns (drops a chain of thought, say) gets one row per reply, each in
      the context that a model would see, with the loss on that reply only.
    """
    try:
        render(tokenizer, messages)
    except TemplateError:
        if messages[0].role != "system":
            raise
        user = Message("user", f"{messages[0].content}\n\n{messages[1].content}")
        merged = [user, *messages[2:]]
        result = variants(tokenizer, merged, prepared)
        prepared.system_merged += 1
        return result
    except NotIncrementalError:
        prepared.split_rows += 1
        context = [Message(message.role, message.content, 0) for message in messages]
        return [[*context[:index], message] for index, message in enumerate(messages) if _is_trained(message)]
    return [messages]


def render(tokenizer: Any, messages: Messages) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation that ends with a trained reply, and the span [start, end) of each trained
    reply.

    Chat templates rarely mark replies, so the text is rendered up to each reply and past it: what the second
    one adds is the reply and what closes its turn. Raises NotIncrementalError when the parts do not fit the
    whole.
    """

    def text_of(count: int, ask: bool = False) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages[:count]]
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)

    whole = text_of(len(messages))
    spans = []
    for index, message in enumerate(messages):
        if not _is_trained(message):
            continue
        is_last = index + 1 == len(messages)
        upto = whole if is_last else text_of(index + 1)
        prompt = text_of(index, ask=True)
        start = len(prompt)
        if not upto.startswith(prompt):  # some templates ask with words that a given reply does not have
            context = text_of(index)
            start = upto.find(message.content.strip(), len(context)) if upto.startswith(context) else -1
        end, is_closed = _end_of_reply(tokenizer, upto, start, message.content.strip())
        if start < 0 or not whole.startswith(upto[:end]):
            raise NotIncrementalError
        if is_last:
            # A reply that nothing closes would teach the model to go on for ever.
            whole = whole[:end] + ("" if is_closed else tokenizer.eos_token)
            end = len(whole)
        spans.append((start, end))
    return whole, spans


def _end_of_reply(tokenizer: Any, text: str, start: int, content: str) -> tuple[int, bool]:
    """Where the turn that starts at `start` ends, and whether a special token closes it there."""
    found = text.find(content, start)
    after = start if found < 0 else found + len(content)
    marks = [(text.find(mark, after), mark) for mark in tokenizer.all_special_tokens]
    closing = [(position, mark) for position, mark in marks if position >= 0]
    if not closing:
        return len(text.rstrip()), False
    position, mark = min(closing)
    return position + len(mark), True


def encode(tokenizer: Any, samples: Sequence[Messages]) -> list[Tokens]:
    """Token ids and labels of conversations that `render` accepts, all in one call of the tokenizer.

    The whole text is tokenised at once, as it is when the model is used, and a token belongs to a reply when
    it starts inside it.
    """
    if not samples:
        return []
    rendered = [render(tokenizer, messages) for messages in samples]
    encoded = tokenizer(
        [text for text, _ in rendered],
        add_special_tokens=False,  # the template has written them
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    result = []
    for ids, offsets, (_, spans) in zip(
        encoded["input_ids"], encoded["offset_mapping"], rendered, strict=True
    ):
        labels = array("i", [IGNORED]) * len(ids)
        starts = [start for start, _ in offsets]
        for start, end in spans:
            first, last = bisect_left(starts, start), bisect_left(starts, end)
            labels[first:last] = array("i", ids[first:last])
        result.append(Tokens(array("i", ids), labels))
    return result


# --- Rows that are too long ---------------------------------------------------------------------------------


def shorten(tokenizer: Any, messages: Messages, max_length: int) -> Tokens:
    """Make a row fit: leave out the oldest turns, and cut the prompt only when one turn alone is too long.

    The system message stays with the turns that are left. A reply loses its end only when it is itself longer
    than three quarters of `max_length`, so that no row loses its reply to its prompt.
    """
    head = 1 if messages[0].role == "system" else 0
    starts = [index for index in range(head, len(messages)) if messages[index].role == "user"]

    def without(turns: int) -> Tokens:
        return encode(tokenizer, [[*messages[:head], *messages[starts[turns] :]]])[0]

    low, high = 1, len(starts) - 1  # the fewest turns to leave out, found by halving
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(without(middle)) <= max_length else (middle + 1, high)
    tokens = without(min(low, len(starts) - 1))
    return tokens if len(tokens) <= max_length else _cut(tokens, max_length)


def _cut(tokens: Tokens, max_length: int) -> Tokens:
    """Cut the start of the prompt, but never its first token (the start mark), then the end of the reply."""
    prompt = next((i for i, label in enumerate(tokens.labels) if label != IGNORED), len(tokens))
    reply = len(tokens) - prompt
    kept = max(min(prompt, max_length // 4), max_length - reply)
    first = prompt - kept + 1
    input_ids = tokens.input_ids[:1] + tokens.input_ids[first:]
    labels = array("i", [IGNORED]) + tokens.labels[first:]
    return Tokens(input_ids[:max_length], labels[:max_length])


Item = TypeVar("Item")


def _blocks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
