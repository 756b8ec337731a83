"""The accepted formats. To add one, write a module beside this file and put its class into the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets.formats.alpaca import Alpaca
from datasets.formats.base import Format
from datasets.formats.binary_preference import KtoLabels, KtoTurns
from datasets.formats.image_caption import ImageCaption
from datasets.formats.image_messages import ImageMessages
from datasets.formats.messages import Messages
from datasets.formats.moss import Moss
from datasets.formats.openai_preference import OpenAiPreference
from datasets.formats.preference import DpoObjects, DpoTurns
from datasets.formats.prompt_response import PromptResponse
from datasets.formats.ranked import SortedResponses
from datasets.formats.sharegpt import ShareGpt
from datasets.formats.text import Text
from datasets.models import RowType

# In the order of help and choice; of equally sure formats the first one wins.
FORMATS: dict[str, Format] = {
    format_.key: format_
    for format_ in (
        PromptResponse(),
        Messages(),
        Alpaca(),
        ShareGpt(),
        Moss(),
        ImageCaption(),
        ImageMessages(),
        DpoTurns(),
        DpoObjects(),
        OpenAiPreference(),
        KtoTurns(),
        KtoLabels(),
        SortedResponses(),
        Text(),
    )
}


def detect(head: Sequence[Any]) -> Format | None:
    """Returns the format that recognises most of the first records, or None where no format knows any."""
    best = max(FORMATS.values(), key=lambda format_: format_.score(head))
    return best if best.score(head) > 0 else None


def by_row_type() -> list[tuple[str, list[Format]]]:
    """The formats under the names of the kinds of data that they end in."""
    groups = [
        (str(row_type.label), [format_ for format_ in FORMATS.values() if format_.row_type == row_type])
        for row_type in RowType
    ]
    return [(label, formats) for label, formats in groups if formats]
