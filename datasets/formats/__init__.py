"""The accepted formats. To add one, write a module beside this file and put its class into the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets.formats.alpaca import Alpaca
from datasets.formats.base import Format
from datasets.formats.messages import Messages
from datasets.formats.prompt_response import PromptResponse
from datasets.formats.sharegpt import ShareGpt

# In the order of help and choice; of equally sure formats the first one wins.
FORMATS: dict[str, Format] = {
    format_.key: format_ for format_ in (PromptResponse(), Messages(), Alpaca(), ShareGpt())
}


def detect(head: Sequence[Any]) -> Format | None:
    """Returns the format that recognises most of the first records, or None where no format knows any."""
    best = max(FORMATS.values(), key=lambda format_: format_.score(head))
    return best if best.score(head) > 0 else None
