"""What the model answers at each checkpoint: the same few prompts every time, so that people see it learn.

Greedy and short, without dropout and without a random number, so the run's losses are the same with and without.
"""

from array import array
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import torch
from jinja2 import TemplateError
from peft import PeftModel
from transformers import GenerationConfig, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from jobs.training.callbacks import Report
from jobs.training.chat import NotIncrementalError, renderings, tokenise
from jobs.training.events import FILE_NAME, TrainingFailure, read_events
from jobs.training.rows import Messages, Prepared, Row, without_tail
from jobs.training.sharding import agreed, is_sharded
from jobs.training.stopping import Stop

PROMPTS = 3
NEW_TOKENS = 48
SECONDS = 10.0  # the longest that the answers of one checkpoint may take; what is there by then is shown
FIRST_SECONDS = 2.0  # the same where the first step waits for it
# Of the time since training began, and seconds; beyond both, only the last checkpoint answers.
SHARE, FREE = 0.05, 2.0
LOOKED_AT = 100  # rows among which prompts are looked for
SHOWN = 600  # characters of a prompt and of its reference reply in an event


@dataclass(frozen=True)
class Prompt:
    """A question, how the data answer it, the token ids that ask the model, and the row that it comes from."""

    question: str
    reference: str
    input_ids: array
    end: int  # the token that ends the reference reply
    row: Row


def choose_prompts(
    path: Path,
    tokenizer: Any,
    longest: int,
    kind: type[Row] = Row,
    messages_of: Callable[[Any], Messages] = lambda row: row.messages,
) -> list[Prompt]:
    """The first rows of a data file with different questions that leave room for a reply in `longest` tokens.

    Rows that cannot be read or rendered are passed over: preparing the data has said what is wrong with them.
    """
    decoder = msgspec.json.Decoder(kind)
    chosen: dict[str, Prompt] = {}
    with path.open("rb") as file:
        for number, line in enumerate(islice(file, LOOKED_AT), start=1):
            if len(chosen) == PROMPTS:
                break
            try:
                row = decoder.decode(line)
                row.line = number
                prompt = _prompt(tokenizer, row, without_tail(messages_of(row)))
            except (msgspec.DecodeError, TrainingFailure, TemplateError, NotIncrementalError, IndexError):
                continue
            if prompt is not None and len(prompt.input_ids) + NEW_TOKENS <= longest:
                chosen.setdefault(prompt.question, prompt)
    return list(chosen.values())


def _prompt(tokenizer: Any, row: Row, messages: Messages) -> Prompt | None:
    """The last trained reply of a row as the reference, what comes before it as the prompt."""
    if not messages:
        return None
    sample, (text, spans) = renderings(tokenizer, messages, Prepared())[-1]
    start, end = spans[-1]
    question = next(message.content for message in reversed(sample) if message.role == "user")
    asked, whole = tokenise(tokenizer, [(text[:start], []), (text[:end], [])])
    return Prompt(question, sample[-1].content, asked.input_ids, whole.input_ids[-1], row)


class WriteSamples(TrainerCallback):
    """Has the model answer before the first step and at every checkpoint, and reports the answers as events.

    People wait for the first step. Without its adapter a model is what it was before, so with LoRA the answers of
    step 0 come after that step; in full training they come before it, and briefly.
    `inputs` turns prompts into a batch for `generate`, padded on the left; `pictures` has the path of the picture
    that belongs to each prompt, relative to the run directory, where there are pictures.
    """

    def __init__(
        self,
        prompts: Sequence[Prompt],
        tokenizer: Any,
        inputs: Callable[[Sequence[Prompt]], dict[str, Any]],
        report: Report,
        stop: Stop,
        pictures: Sequence[str] = (),
    ) -> None:
        self.prompts, self.tokenizer, self.inputs = prompts, tokenizer, inputs
        self.report, self.stop, self.pictures = report, stop, pictures
        self.is_off = not prompts
        self.first_step, self.owes_first = 0, False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **_: Any
    ) -> None:
        past = read_events(self.report.run_dir / FILE_NAME)[0]
        answered = {event["step"] for event in past if event["type"] == "sample"}
        self.first_step = state.global_step
        self.owes_first = isinstance(model, PeftModel) and 0 not in answered
        # At a later step: what a process that was killed meanwhile left out.
        wanted = state.global_step not in answered and not (self.owes_first and state.global_step == 0)
        seconds = SECONDS if state.global_step else FIRST_SECONDS
        self._answer(model, state, state.global_step, seconds, wanted=wanted)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **_: Any
    ) -> None:
        if state.global_step > self.first_step:
            self._answer_first(model, state)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any, **_: Any
    ) -> None:
        self._answer_first(model, state)
        is_last = state.global_step >= state.max_steps or control.should_training_stop
        has_time = self.report.seconds["samples"] < FREE or self.report.share("samples") < SHARE
        self._answer(model, state, state.global_step, wanted=is_last or has_time)

    def _answer_first(self, model: Any, state: TrainerState) -> None:
        if self.owes_first:
            self.owes_first = False
            self._answer(model, state, 0)

    def _answer(
        self, model: Any, state: TrainerState, step: int, seconds: float = SECONDS, *, wanted: bool = True
    ) -> None:
        wanted = wanted and not self.is_off and not self.stop.requested
        if not agreed(wanted, model) or not (state.is_world_process_zero or is_sharded(model)):
            return
        was_training = model.training
        model.eval()
        before = model.disable_adapter() if step == 0 and isinstance(model, PeftModel) else nullcontext()
        try:
            with self.report.timed("samples"), torch.random.fork_rng(), torch.no_grad(), before:
                replies = generate(model, self.tokenizer, self.prompts, self.inputs(self.prompts), seconds)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self.is_off = True
            self.report.events.warn(
                "samples_left_out",
                f"The memory was not enough to draw samples at step {step}.",
                step=step,
            )
            return
        finally:
            model.train(was_training)
        for number, (prompt, reply) in enumerate(zip(self.prompts, replies, strict=True), start=1):
            self.report.events.write(
                "sample",
                kind="text",
                step=step,
                number=number,
                prompt=prompt.question[:SHOWN],
                reference=prompt.reference[:SHOWN],
                reply=reply,
                picture=self.pictures[number - 1] if self.pictures else None,
            )
            print(f"step {step}, sample {number}: {reply!r}", flush=True)


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    inputs: dict[str, Any],
    seconds: float = SECONDS,
) -> list[str]:
    """The most likely replies, at most NEW_TOKENS long and in about `seconds`; an ellipsis says that one was cut."""
    known = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(known if isinstance(known, list) else [known])} - {None}
    ends |= {prompt.end for prompt in prompts} & set(tokenizer.all_special_ids)
    config = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        max_time=seconds,
        do_sample=False,
        use_cache=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=sorted(ends),
    )
    device = next(model.parameters()).device
    inputs = {key: value.to(device) for key, value in inputs.items()}
    before = inputs["input_ids"].shape[1]
    replies = []
    for ids in model.generate(**inputs, generation_config=config)[:, before:].tolist():
        length = next((index for index, token in enumerate(ids) if token in ends), None)
        text = tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
        replies.append(text if length is not None else f"{text}…")
    return replies


def text_inputs(tokenizer: Any) -> Callable[[Sequence[Prompt]], dict[str, torch.Tensor]]:
    """Batches of prompts without pictures."""

    def inputs(prompts: Sequence[Prompt]) -> dict[str, torch.Tensor]:
        longest = max(len(prompt.input_ids) for prompt in prompts)
        gaps = [longest - len(prompt.input_ids) for prompt in prompts]
        pairs = list(zip(prompts, gaps, strict=True))
        ids = [[tokenizer.pad_token_id] * gap + list(prompt.input_ids) for prompt, gap in pairs]
        mask = [[0] * gap + [1] * len(prompt.input_ids) for prompt, gap in pairs]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    return inputs
