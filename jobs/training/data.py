"""A data file -> tokenised rows: read, joined, rendered, shortened. Needs a tokenizer and nothing else of the
training libraries.
"""

import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import TemplateError

from jobs.training.chat import NotIncrementalError, Rendered, encode, renderings, tokenise
from jobs.training.rows import IGNORED, Messages, Prepared, Row, Tokens, bad_row, read_rows, without_tail

BLOCK = 256  # rows that are tokenised in one call: enough for the tokenizer's own threads, little to wait for


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
    rows: list[Row] = []
    for row in read_rows(path, Row):
        messages = without_tail(row.messages)
        if messages:
            rows.append(Row(messages, row.line))
        else:
            prepared.dropped_rows += 1
    if join_probability > 0:
        rng = random.Random(seed)  # noqa: S311
        rows = join_single_turns(path, rows, tokenizer, max_length, join_probability, rng, prepared)
    for block in blocks(rows, BLOCK):
        between_blocks()
        samples: list[tuple[Messages, Rendered]] = []
        for row in block:
            samples += rendered_row(path, tokenizer, row, prepared)
        encoded = tokenise(tokenizer, [rendered for _, rendered in samples])
        for (sample, _), tokens in zip(samples, encoded, strict=True):
            if len(tokens) > max_length:
                prepared.truncated_rows += 1
                tokens = shorten(tokenizer, sample, max_length)
            if tokens.trained():
                prepared.rows.append(tokens)
            else:
                prepared.dropped_rows += 1
    return prepared


def rendered_row(path: Path, tokenizer: Any, row: Row, prepared: Prepared) -> list[tuple[Messages, Rendered]]:
    """`renderings` of a row; raises TrainingFailure with file and line when the chat template cannot show it."""
    try:
        return renderings(tokenizer, row.messages, prepared)
    except TemplateError as error:
        reason = f"the chat template of the base model refuses it ({error})"
        raise bad_row(path, row.line, reason) from None
    except NotIncrementalError:
        raise bad_row(path, row.line, "the chat template of the base model leaves out a reply") from None


def join_single_turns(
    path: Path,
    rows: list[Row],
    tokenizer: Any,
    max_length: int,
    probability: float,
    rng: random.Random,
    prepared: Prepared,
) -> list[Row]:
    """Join a share of the single-turn rows into conversations of 2 to 5 turns that fit into `max_length`.

    Seed, 伪多轮概率: data are concatenated to improve the effect on long texts. Only rows with the same system
    text meet, because a conversation has one. A row that finds no partner stays as it is. `path` is for
    messages.
    """
    single = [row for row in rows if _is_single_turn(row)]
    chosen = rng.sample(single, round(probability * len(single)))
    texts = [rendered_row(path, tokenizer, row, Prepared())[0][1] for row in chosen]
    lengths = [len(tokens) for tokens in tokenise(tokenizer, texts)]
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


def blocks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
