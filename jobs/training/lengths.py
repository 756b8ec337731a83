"""How long rows are in tokens, as the trainer would read them. Lines in, lines out:

    python -m jobs.training.lengths MODEL_DIR [--trust-remote-code] < rows.jsonl

answers each canonical row with a line `longest total`: a row can become several training samples (a chat template
that rewrites earlier turns, replies that are compared), and `longest` is what a sequence length must hold. A row that
the chat template refuses is answered with `-`. Pictures are not counted. Exit code 3: the tokenizer does not load,
stderr says why.
"""

import sys
from pathlib import Path

# Before anything else is imported: the installed library `datasets` comes before the app of the same name.
_root = str(Path(__file__).resolve().parents[2])
sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _root] + [_root]

import os  # noqa: E402
from itertools import islice  # noqa: E402
from typing import Any  # noqa: E402

import msgspec  # noqa: E402
from jinja2 import TemplateError  # noqa: E402

from jobs.training.chat import NotIncrementalError, renderings  # noqa: E402
from jobs.training.events import TrainingFailure  # noqa: E402
from jobs.training.rows import Message, Prepared, without_tail  # noqa: E402
from jobs.training.spec import Base  # noqa: E402

BLOCK = 512  # rows that are tokenised in one call


class _Response(msgspec.Struct):
    content: str


class _Row(msgspec.Struct):
    """A canonical row of any kind of text."""

    messages: list[Message] = []
    text: str = ""
    chosen: str = ""
    rejected: str = ""
    completion: str = ""
    responses: list[_Response] = []


def main(arguments: list[str]) -> int:
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "true"}
    import transformers

    transformers.logging.set_verbosity_error()
    from jobs.training.weights import load_tokenizer

    base = Base(
        name=arguments[0], path=arguments[0], trust_remote_code="--trust-remote-code" in arguments[1:]
    )
    try:
        tokenizer = load_tokenizer(base)
    except TrainingFailure as failure:
        print(failure.message, file=sys.stderr)
        return 3
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    decoder = msgspec.json.Decoder(_Row)
    while block := list(islice(sys.stdin.buffer, BLOCK)):
        texts = [_texts(tokenizer, decoder.decode(line)) for line in block]
        flat = [text for row in texts for text in row or ()]
        encoded = tokenizer.backend_tokenizer.encode_batch_fast(flat, add_special_tokens=False)
        lengths = iter([len(one.ids) for one in encoded])
        for row in texts:
            own = list(islice(lengths, len(row or ())))
            print(f"{max(own)} {sum(own)}" if own else "-")
        sys.stdout.flush()
    return 0


def _texts(tokenizer: Any, row: _Row) -> list[str] | None:
    """What the trainer would tokenise; None for a row that it cannot use."""
    if row.text:
        return [row.text + tokenizer.eos_token]
    replies = [row.chosen, row.rejected, row.completion, *(response.content for response in row.responses)]
    compared = [[*row.messages, Message("assistant", reply)] for reply in replies if reply]
    try:
        return [
            text
            for messages in compared or [without_tail(row.messages)]
            if messages
            for _sample, (text, _spans) in renderings(tokenizer, messages, Prepared())
        ]
    except (TemplateError, NotIncrementalError):
        return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
