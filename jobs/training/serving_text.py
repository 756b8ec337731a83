"""Answers of a causal language model, token by token."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, GenerationConfig, LogitsProcessor, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from jobs.training.chat import NotIncrementalError, renderings, tokenise
from jobs.training.device import TINY, find_device
from jobs.training.events import TrainingFailure
from jobs.training.rows import Message, Prepared
from jobs.training.serving_protocol import Emit, Load, Refused, Sampling, Task, Turn
from jobs.training.spec import Base
from jobs.training.weight_files import check_weights
from jobs.training.weights import load_model, load_tokenizer

# The longest answer where nobody says how long it may be: a model that never ends its turn ends here.
DEFAULT_MAX_TOKENS = 1024
# What a directory of an adapter or a checkpoint has if the tokenizer was saved with it.
TOKENIZER = "tokenizer_config.json"


class TextModel:
    """Weights, tokenizer, and how much the model reads (tokens)."""

    auto_class: Any = AutoModelForCausalLM

    def __init__(self, asked: Load) -> None:
        self.device = find_device(asked.device)
        if asked.threads:
            torch.set_num_threads(asked.threads)
        path = Path(asked.base)
        check_weights(path)
        base = Base("", asked.base, asked.trust_remote_code)
        model = load_model(base, torch.bfloat16 if self.device == "cuda" else torch.float32, self.auto_class)
        if asked.adapter:
            from peft import PeftModel

            # Merged, an adapter costs nothing any more at each token.
            model = PeftModel.from_pretrained(model, asked.adapter).merge_and_unload()
            if (Path(asked.adapter) / TOKENIZER).exists():
                base = Base("", asked.adapter, asked.trust_remote_code)
        self.load_tokenizer(base, model)
        if asked.threads is None and self.device == "cpu" and model.num_parameters() < TINY:
            torch.set_num_threads(1)
        self.model = model.to(self.device).eval()
        config = model.config.get_text_config()
        self.context = getattr(config, "max_position_embeddings", None) or asked.context
        self.ends = _ends(model, self.tokenizer, self.template)

    def load_tokenizer(self, base: Base, model: Any) -> None:
        """Sets `tokenizer`, which decodes, and `template`, which renders conversations."""
        self.tokenizer = self.template = load_tokenizer(base)

    def inputs(self, task: Task) -> dict[str, torch.Tensor]:
        """What `generate` takes, on the CPU. Raises Refused."""
        if task.picture is not None:
            raise Refused("invalid_value", "This model reads texts only.", "messages")
        return as_batch(tokens_of(self.template, self.tokenizer, task.turns))

    @torch.inference_mode()
    def answer(self, task: Task, emit: Emit, is_cancelled: Callable[[], bool]) -> dict[str, Any]:
        inputs = self.inputs(task)
        asked = inputs["input_ids"].shape[1]
        room = self._room(asked, task.sampling)
        text = Text(self.tokenizer, task.sampling.stop, self.ends)
        follow = Follow(text, emit, asked)
        with torch.random.fork_rng(enabled=task.sampling.seed is not None):
            if task.sampling.seed is not None:
                torch.manual_seed(task.sampling.seed)
            self.model.generate(
                **{key: value.to(self.device) for key, value in inputs.items()},
                generation_config=self._config(task.sampling, room),
                logits_processor=_penalties(task.sampling, asked),
                stopping_criteria=[Ended(lambda: text.is_over or is_cancelled())],
                streamer=follow,
            )
        if rest := text.finish():
            emit("delta", text=rest)
        reason = "stop" if text.is_over else "cancelled" if is_cancelled() else "length"
        return {"finish_reason": reason, "prompt_tokens": asked, "completion_tokens": text.count}

    def _room(self, asked: int, sampling: Sampling) -> int:
        """How many tokens the answer may have. Raises Refused where prompt and answer do not fit."""
        wanted = sampling.max_tokens
        if self.context is None:
            return wanted or DEFAULT_MAX_TOKENS
        left = self.context - asked
        if left < 1 or (wanted or 0) > left:
            message = f"This model's maximum context length is {self.context} tokens. However, you requested "
            message += (
                f"{asked + (wanted or 1)} tokens ({asked} in the messages, {wanted or 1} in the completion). "
            )
            message += "Please reduce the length of the messages or completion."
            raise Refused("context_length_exceeded", message, "messages")
        return wanted or min(left, DEFAULT_MAX_TOKENS)

    def _config(self, sampling: Sampling, room: int) -> GenerationConfig:
        """Everything is said: what is left out, `generate` takes from the weights' own configuration."""
        config: dict[str, Any] = {"do_sample": sampling.temperature > 0}
        if sampling.temperature > 0:
            config |= {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
            }
        return GenerationConfig(
            **config,
            max_new_tokens=room,
            repetition_penalty=sampling.repetition_penalty,
            use_cache=True,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=sorted(self.ends),
        )


def tokens_of(template: Any, tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    """The token ids that ask for the next reply, by the model's chat template. Raises Refused."""
    shown = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        text = _render(template, shown)
    except TemplateError as error:
        raise Refused(
            "invalid_value", f"The model's chat template refuses these messages: {error}.", "messages"
        ) from None
    # The template has written the special tokens.
    return tokenizer(text, add_special_tokens=False, return_attention_mask=False)["input_ids"]


def _render(template: Any, shown: list[dict[str, str]]) -> str:
    try:
        return template.apply_chat_template(shown, tokenize=False, add_generation_prompt=True)
    except TemplateError:
        if shown[0]["role"] != "system" or len(shown) < 2:
            raise
        # As in training: a template that knows no system message gets it with the first question.
        first = {"role": "user", "content": f"{shown[0]['content']}\n\n{shown[1]['content']}"}
        return _render(template, [first, *shown[2:]])


def as_batch(ids: Sequence[int]) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}


def _ends(model: Any, tokenizer: Any, template: Any) -> set[int]:
    """The tokens that end a reply: those that weights and tokenizer name, and the one with which the chat template
    closes a reply, which is what the model was trained to write."""
    known = getattr(model.generation_config, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(known if isinstance(known, list) else [known])} - {None}
    try:
        shown = [Message("user", "a"), Message("assistant", "b")]
        _sample, (text, spans) = renderings(template, shown, Prepared())[-1]
        closing = tokenise(tokenizer, [(text[: spans[-1][1]], [])])[0].input_ids[-1]
        ends |= {closing} & set(tokenizer.all_special_ids)
    except (TemplateError, TrainingFailure, NotIncrementalError, IndexError):
        pass  # a template that shows no such conversation
    return ends


def _penalties(sampling: Sampling, asked: int) -> list[LogitsProcessor]:
    if not (sampling.presence_penalty or sampling.frequency_penalty):
        return []
    return [Penalties(sampling.presence_penalty, sampling.frequency_penalty, asked)]


class Penalties(LogitsProcessor):
    """OpenAI's penalties: for a token that the answer has already, and for how often it has it."""

    def __init__(self, presence: float, frequency: float, asked: int) -> None:
        self.presence, self.frequency, self.asked = presence, frequency, asked

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        counts = torch.zeros_like(scores)
        written = input_ids[:, self.asked :]
        counts.scatter_add_(1, written, torch.ones_like(written, dtype=scores.dtype))
        return scores - self.frequency * counts - self.presence * (counts > 0)


class Ended(StoppingCriteria):
    def __init__(self, is_over: Callable[[], bool]) -> None:
        self.is_over = is_over

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self.is_over(), dtype=torch.bool, device=input_ids.device)


class Follow(BaseStreamer):
    """Emits the text of tokens as `generate` hands them over: first the prompt, then one at a time."""

    def __init__(self, text: "Text", emit: Emit, asked: int) -> None:
        self.text, self.emit = text, emit
        self.began, self.waits_for_prompt = time.monotonic(), True

    def put(self, value: torch.Tensor) -> None:
        if self.waits_for_prompt:
            self.waits_for_prompt = False
            return
        for token in value.reshape(-1).tolist():
            if new := self.text.add(token):
                self.emit("delta", text=new)

    def end(self) -> None:
        pass


class Text:
    """Tokens -> the text that is certain: no half characters, and nothing that may become a stop text."""

    def __init__(self, tokenizer: Any, stops: Sequence[str], ends: set[int]) -> None:
        self.tokenizer, self.stops, self.ends = tokenizer, [stop for stop in stops if stop], ends
        self.tokens: list[int] = []
        # tokens[:shown] are in the text; the text of tokens[context:shown] is decoded again with what follows,
        # because a token may be written in another way after others.
        self.context = self.shown = 0
        self.held = ""
        self.is_over = False

    @property
    def count(self) -> int:
        return len(self.tokens)

    def add(self, token: int) -> str:
        """The text that the token makes certain, mostly its own."""
        if self.is_over:
            return ""
        self.tokens.append(token)
        if token in self.ends:
            self.is_over = True
            return self._release(self._decode(final=True), final=True)
        return self._release(self._decode())

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        return "" if self.is_over else self._release(self._decode(final=True), final=True)

    def _decode(self, *, final: bool = False) -> str:
        known = self._text(self.tokens[self.context : self.shown])
        text = self._text(self.tokens[self.context :])
        if not final and text.endswith("�"):
            return ""  # half of a character: the next token has the rest
        self.context, self.shown = self.shown, len(self.tokens)
        return text[len(known) :]

    def _text(self, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def _release(self, new: str, *, final: bool = False) -> str:
        text = self.held + new
        found = [place for stop in self.stops if (place := text.find(stop)) >= 0]
        if found:
            self.is_over, self.held = True, ""
            return text[: min(found)]
        keep = 0 if final else max((_overlap(text, stop) for stop in self.stops), default=0)
        self.held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of a stop text."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
