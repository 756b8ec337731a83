"""A data file -> tokenised rows: read, joined, rendered, shortened. Needs a tokenizer and nothing else of the
training libraries.
"""

import itertools
import random
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec
from jinja2 import TemplateError

from jobs.training.chat import NotIncrementalError, Rendered, encode, renderings, tokenise
from jobs.training.rows import IGNORED, Messages, Prepared, Row, Tokens, bad_row, read_rows, without_tail
from jobs.training.token_rows import Tokenised, TokenWriter, read

BLOCK = 256  # rows that are tokenised in one call: enough for the tokenizer's own threads, little to wait for


def prepare(
    path: Path,
    tokenizer: Any,
    max_length: int,
    *,
    join_probability: float = 0.0,
    seed: int = 42,
    between_blocks: Callable[[], None] = lambda: None,
    into: IO[bytes] | None = None,
) -> Tokenised:
    """Read, join, render, tokenise and shorten the rows of a file, a block at a time.

    `join_probability` is the hyperparameter pseudoSamplingProb. `between_blocks` is called now and then and
    may raise to stop. The tokens go into the binary file `into`, or one without a name beside `path`. Raises
    TrainingFailure for a row that cannot be read or rendered.
    """
    if into is None:
        with tempfile.TemporaryFile(dir=path.parent if path.parent.is_dir() else None) as file:
            return prepare(
                path,
                tokenizer,
                max_length,
                join_probability=join_probability,
                seed=seed,
                between_blocks=between_blocks,
                into=file,
            )
    prepared, writer = Prepared(), TokenWriter(into)
    rows = _trainable(path, prepared)
    if join_probability > 0:
        rows = join_single_turns(path, tokenizer, max_length, join_probability, random.Random(seed), prepared)  # noqa: S311
    for block in blocks(rows, BLOCK):
        between_blocks()
        samples: list[tuple[Messages, Rendered]] = []
        for row in block:
            samples += rendered_row(path, tokenizer, row, prepared)
        kept = []
        encoded = tokenise(tokenizer, [rendered for _, rendered in samples])
        for (sample, _), tokens in zip(samples, encoded, strict=True):
            if len(tokens) > max_length:
                prepared.truncated_rows += 1
                tokens = shorten(tokenizer, sample, max_length)
            if tokens.trained():
                kept.append(tokens)
            else:
                prepared.dropped_rows += 1
        writer.add(kept)
    writer.close(prepared)
    into.flush()
    return read(into)


def _trainable(path: Path, prepared: Prepared) -> Iterator[Row]:
    """The rows of a file up to the last turn in the loss; counts those that have none."""
    for row in read_rows(path, Row):
        messages = without_tail(row.messages)
        if messages:
            yield Row(messages, row.line)
        else:
            prepared.dropped_rows += 1


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
    tokenizer: Any,
    max_length: int,
    probability: float,
    rng: random.Random,
    prepared: Prepared,
) -> Iterator[Row]:
    """The rows of a file, a share of those with a single turn joined into conversations of 2 to 5 turns that fit into
    `max_length`.

    Seed, 伪多轮概率: data are concatenated to improve the effect on long texts. Only rows with the same system
    text meet, because a conversation has one. A row that finds no partner stays as it is. The file is read three
    times, so that of the rows only their places are held.
    """
    count = sum(_is_single_turn(row) for row in _trainable(path, Prepared()))
    order = array("q", rng.sample(range(count), round(probability * count)))
    is_chosen = bytearray(count)
    for number in order:
        is_chosen[number] = 1

    # Where the chosen ones stand, how long they are, and the number of their system text.
    at, lengths, systems = (array("q", bytes(8 * count)) for _ in range(3))
    known: dict[str, int] = {}
    single = itertools.count()
    waiting: list[tuple[int, Rendered]] = []

    def measure() -> None:
        for (number, _), tokens in zip(
            waiting, tokenise(tokenizer, [text for _, text in waiting]), strict=True
        ):
            lengths[number] = len(tokens)
        waiting.clear()

    for start, row in _with_places(path):
        if _is_single_turn(row) and is_chosen[number := next(single)]:
            system = row.messages[0].content if row.messages[0].role == "system" else ""
            at[number], systems[number] = start, known.setdefault(system, len(known))
            waiting.append((number, rendered_row(path, tokenizer, row, Prepared())[0][1]))
            if len(waiting) == BLOCK:
                measure()
    measure()

    single = itertools.count()
    for row in _trainable(path, prepared):
        if not (_is_single_turn(row) and is_chosen[next(single)]):
            yield row
    groups: dict[int, array] = {}
    for number in order:
        groups.setdefault(systems[number], array("q")).append(number)
    with path.open("rb") as file:
        for group in groups.values():
            while group:
                number = group.pop()
                first, total = _row_at(file, at[number]), lengths[number]
                messages, turns = list(first.messages), rng.randint(2, 5)
                while group and turns > 1 and total + lengths[group[-1]] <= max_length:
                    number = group.pop()
                    row = _row_at(file, at[number])
                    messages += [message for message in row.messages if message.role != "system"]
                    total, turns = total + lengths[number], turns - 1
                if len(messages) > len(first.messages):
                    prepared.joined_rows += sum(message.role == "assistant" for message in messages)
                yield Row(messages, first.line)


def _with_places(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows as `_trainable` gives them, each with the byte of the file where it starts."""
    decoder = msgspec.json.Decoder(Row)
    start = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip() and (messages := without_tail(decoder.decode(line).messages)):
                yield start, Row(messages, number)
            start += len(line)


def _row_at(file: IO[bytes], start: int) -> Row:
    """The row that starts at a byte, which was read before."""
    file.seek(start)
    return Row(without_tail(msgspec.json.decode(file.readline(), type=Row).messages))


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


def blocks(items: Iterable[Item], size: int) -> Iterator[Sequence[Item]]:
    waiting = iter(items)
    while block := list(itertools.islice(waiting, size)):
        yield block
