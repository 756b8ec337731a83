"""Conversations -> text -> token ids and labels, by the chat template of the base model.

A label is the token id where the loss counts and IGNORED elsewhere: it counts on every assistant turn with
weight 1, including the token that ends the turn, and nowhere else.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError

from jobs.training.rows import IGNORED, Message, Messages, Prepared, Tokens, is_trained

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


Rendered = tuple[str, list[tuple[int, int]]]


class NotIncrementalError(Exception):
    """The chat template rewrites earlier turns when later ones follow."""


def renderings(tokenizer: Any, messages: Messages, prepared: Prepared) -> list[tuple[Messages, Rendered]]:
    """The conversation as the chat template can show it, normally just itself, with its text.

    - A template that refuses system messages gets the system text at the start of the first user turn.
    - A template that rewrites earlier turns (drops a chain of thought, say) gets one row per reply, each in
      the context that a model would see, with the loss on that reply only.
    """
    try:
        return [(messages, render(tokenizer, messages))]
    except TemplateError:
        if messages[0].role != "system":
            raise
        user = Message("user", f"{messages[0].content}\n\n{messages[1].content}")
        merged = [user, *messages[2:]]
        result = renderings(tokenizer, merged, prepared)
        prepared.system_merged += 1
        return result
    except NotIncrementalError:
        prepared.split_rows += 1
        context = [Message(message.role, message.content, 0) for message in messages]
        samples = [[*context[:index], turn] for index, turn in enumerate(messages) if is_trained(turn)]
        return [(sample, render(tokenizer, sample)) for sample in samples]


def render(tokenizer: Any, messages: Messages) -> Rendered:
    """The text of a conversation that ends with a trained reply, and each trained reply's span [start, end).

    Chat templates rarely mark replies, so the text is rendered up to each reply and past it: what the second
    one adds is the reply and what closes its turn. Raises NotIncrementalError when the parts do not fit.
    """

    def text_of(count: int, ask: bool = False) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages[:count]]
        return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=ask)

    whole = text_of(len(messages))
    spans = []
    for index, message in enumerate(messages):
        if not is_trained(message):
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
    """Token ids and labels of conversations that `render` accepts."""
    return tokenise(tokenizer, [render(tokenizer, messages) for messages in samples])


def tokenise(tokenizer: Any, rendered: Sequence[Rendered]) -> list[Tokens]:
    """Token ids and labels of rendered texts, all in one call of the tokenizer.

    A whole text is tokenised at once, as it is when the model is used, and a token belongs to a reply when it
    starts inside it.
    """
    if not rendered:
        return []
    # The tokenizer beneath transformers', whose way of handing on what comes of it costs as much as tokenising.
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    texts = [text for text, _ in rendered]
    result = []
    # The template has written the special tokens.
    for encoded, (_, spans) in zip(
        backend.encode_batch(texts, add_special_tokens=False), rendered, strict=True
    ):
        ids, offsets = array("i", encoded.ids), encoded.offsets
        labels = array("i", [IGNORED]) * len(ids)
        for start, end in spans:
            first, last = bisect_left(offsets, (start,)), bisect_left(offsets, (end,))
            labels[first:last] = ids[first:last]
        result.append(Tokens(ids, labels))
    return result
