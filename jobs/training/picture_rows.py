"""Conversations about one picture -> token ids and labels, and batches of them with their pixels.

Text and labels are made as for conversations without a picture (`data.py`); what is added is the picture's place
in the text, which a model fills with hundreds to thousands of tokens.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from jobs.training.chat import renderings, tokenise
from jobs.training.pictures import open_picture
from jobs.training.ranks import rank
from jobs.training.rows import (
    IGNORED,
    Message,
    Messages,
    Prepared,
    Row,
    Tokens,
    bad_row,
    read_rows,
    without_tail,
)
from jobs.training.samples import NEW_TOKENS, Prompt, choose_prompts, text_inputs

MARK = "<image>"  # the picture's place in a canonical row


class PictureRow(Row, kw_only=True):
    """One canonical row of the type image_messages; `image` is relative to the data file's directory."""

    image: str


@dataclass(frozen=True)
class PictureTokens(Tokens):
    """One training row, and the picture that belongs to it."""

    image: str
    line: int


@dataclass
class PreparedPictures(Prepared):
    """Adds the rows that were refused because they are too long, and the shortest of them in tokens."""

    rows: list[PictureTokens] = field(default_factory=list)  # type: ignore[assignment]
    too_long: int = 0
    shortest_refused: int = 0


class PictureTokenizer:
    """A processor's tokenizer as `chat.render` wants it: it knows how the chat template wants to see a picture.

    Templates of models that see take contents as lists of parts; others get the mark in the text. Some leave
    the start mark to the tokenizer (LLaVA's own does), so here it is put before what they write.
    """

    def __init__(self, processor: Any) -> None:
        self.tokenizer, self.image_token = processor.tokenizer, processor.image_token
        self.backend_tokenizer = self.tokenizer.backend_tokenizer
        self.template = processor.chat_template
        self.eos_token = self.tokenizer.eos_token
        self.all_special_tokens = self.tokenizer.all_special_tokens
        self.start, self.takes_parts = "", True
        probe = [{"role": "user", "content": f"{MARK}probe"}]
        try:
            shown = self.apply_chat_template(probe, tokenize=False)
            self.takes_parts = self.image_token in shown and "probe" in shown and "'text'" not in shown
        except (TemplateError, TypeError):
            self.takes_parts = False
        start, first = self.tokenizer.bos_token, self.tokenizer("probe").input_ids[0]
        if start is not None and first == self.tokenizer.bos_token_id:
            is_written = self.apply_chat_template(probe, tokenize=False).startswith(start)
            self.start = "" if is_written else start

    def apply_chat_template(self, turns: list[dict[str, Any]], **options: Any) -> str:
        shown = [{"role": turn["role"], "content": self._content(turn["content"])} for turn in turns]
        return self.start + self.tokenizer.apply_chat_template(shown, chat_template=self.template, **options)

    def _content(self, text: str) -> str | list[dict[str, str]]:
        if not self.takes_parts:
            return text.replace(MARK, self.image_token)
        before, mark, after = text.partition(MARK)
        texts = [{"type": "text", "text": part.strip()} for part in (before, after) if part.strip()]
        if not mark:
            return [{"type": "text", "text": text}]
        picture = {"type": "image"}
        return [*texts[:1], picture, *texts[1:]] if before.strip() else [picture, *texts]


def prepare_pictures(
    path: Path, processor: Any, max_length: int, *, between_rows: Callable[[], None] = lambda: None
) -> PreparedPictures:
    """Read, check, render and tokenise the rows of a file; every picture is decoded once, so that a broken one
    is found before training.

    Rows longer than `max_length` are refused, because neither a picture nor a reply can be cut. Raises
    TrainingFailure for a row that cannot be used.
    """
    prepared = PreparedPictures()
    tokenizer = PictureTokenizer(processor)
    for row in read_rows(path, PictureRow):
        between_rows()
        messages = without_tail(_with_mark(path, row))
        if not messages:
            prepared.dropped_rows += 1
            continue
        picture = open_picture(path, row.line, row.image)
        size = processor._get_num_multimodal_tokens(image_sizes=[(picture.height, picture.width)])
        try:
            samples = renderings(tokenizer, messages, prepared)
        except TemplateError as error:
            reason = f"the chat template of the base model refuses it ({error})"
            raise bad_row(path, row.line, reason) from None
        for tokens in tokenise(tokenizer, [text for _, text in samples]):
            if tokens.input_ids.count(processor.image_token_id) != 1:
                raise bad_row(path, row.line, "the chat template of the base model leaves out the picture")
            whole = _widened(tokens, processor.image_token_id, size["num_image_tokens"][0])
            if len(whole) > max_length:
                prepared.too_long += 1
                prepared.dropped_rows += 1
                prepared.shortest_refused = min(prepared.shortest_refused or len(whole), len(whole))
            else:
                prepared.rows.append(PictureTokens(whole.input_ids, whole.labels, row.image, row.line))
    return prepared


def _with_mark(path: Path, row: PictureRow) -> Messages:
    """The messages with exactly one mark, in a user turn; raises TrainingFailure if there are more."""
    marks = sum(message.content.count(MARK) for message in row.messages if message.role == "user")
    if any(MARK in message.content for message in row.messages if message.role != "user"):
        raise bad_row(path, row.line, f"{MARK} may stand in user turns only")
    if marks > 1:
        raise bad_row(path, row.line, f"it has {marks} times {MARK}, and a row has one picture")
    if marks == 1:
        return row.messages
    first = next(index for index, message in enumerate(row.messages) if message.role == "user")
    marked = Message("user", f"{MARK}\n{row.messages[first].content}")
    return [*row.messages[:first], marked, *row.messages[first + 1 :]]


def _widened(tokens: Tokens, image_token: int, count: int) -> Tokens:
    """The row with `count` image tokens instead of one."""
    place = tokens.input_ids.index(image_token)
    ids, labels = tokens.input_ids, tokens.labels
    return Tokens(
        ids[:place] + array("i", [image_token]) * count + ids[place + 1 :],
        labels[:place] + array("i", [IGNORED]) * count + labels[place + 1 :],
    )


def choose_picture_prompts(path: Path, processor: Any, max_length: int) -> list[Prompt]:
    """Prompts with a picture that leave room for a reply, with as many image tokens as the model takes."""
    chosen = choose_prompts(
        path,
        PictureTokenizer(processor),
        max_length,
        PictureRow,
        lambda row: _with_mark(path, row),  # type: ignore[arg-type]
    )
    wide = []
    for prompt in chosen:
        picture = open_picture(path, prompt.row.line, prompt.row.image)  # type: ignore[attr-defined]
        size = processor._get_num_multimodal_tokens(image_sizes=[(picture.height, picture.width)])
        tokens = Tokens(prompt.input_ids, prompt.input_ids)
        if tokens.input_ids.count(processor.image_token_id) == 1:
            ids = _widened(tokens, processor.image_token_id, size["num_image_tokens"][0]).input_ids
            question = prompt.question.replace(MARK, "").strip()
            wide.append(replace(prompt, input_ids=ids, question=question))
    return [prompt for prompt in wide if len(prompt.input_ids) + NEW_TOKENS <= max_length]


def picture_inputs(processor: Any, path: Path) -> Callable[[Sequence[Prompt]], dict[str, Any]]:
    """Batches of prompts with the pixels of their pictures."""
    without_pictures = text_inputs(processor.tokenizer)

    def inputs(prompts: Sequence[Prompt]) -> dict[str, Any]:
        pictures = [open_picture(path, prompt.row.line, prompt.row.image) for prompt in prompts]  # type: ignore[attr-defined]
        seen = processor.image_processor(images=pictures, return_tensors="pt")
        return without_pictures(prompts) | {key: seen[key] for key in ("pixel_values", "image_sizes")}

    return inputs


def save_thumbnails(run_dir: Path, path: Path, prompts: Sequence[Prompt]) -> list[str]:
    """Small copies of the prompts' pictures in the run directory, for whoever looks at the answers."""
    names = []
    for number, prompt in enumerate(prompts, start=1):
        names.append(f"samples/asked-{number}.png")
        if rank() == 0:
            picture = open_picture(path, prompt.row.line, prompt.row.image)  # type: ignore[attr-defined]
            picture.thumbnail((320, 320))
            (run_dir / "samples").mkdir(exist_ok=True)
            picture.save(run_dir / names[-1])
    return names


def make_collator(processor: Any, files: dict[str, Path]) -> Callable[[list[dict]], dict[str, Any]]:
    """Batches of rows {"input_ids", "labels", "file", "picture", "line"}; `files` has the path of each `file`."""

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        tensors = [torch.tensor(row) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)

    def collate(rows: list[dict]) -> dict[str, Any]:
        pictures = [open_picture(files[row["file"]], row["line"], row["picture"]) for row in rows]
        seen = processor.image_processor(images=pictures, return_tensors="pt")
        ids = [row["input_ids"] for row in rows]
        return {
            "input_ids": padded(ids, processor.tokenizer.pad_token_id),
            "attention_mask": padded([[1] * len(row) for row in ids], 0),
            "labels": padded([row["labels"] for row in rows], IGNORED),
            "pixel_values": seen["pixel_values"],
            "image_sizes": seen["image_sizes"],
        }

    return collate
