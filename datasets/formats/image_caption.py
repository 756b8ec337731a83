"""Images with descriptions, for text-to-image: Qianfan's PromptImage, and the two shapes public data have.

PromptImage is an archive of pictures, each with a file of the same name that holds {"prompt": "…"} (.json) or
the description itself (.txt); datasets/sources.py makes a record with `image` of each pair. Otherwise a file of
records names the pictures: {"file_name", "text"} as Hugging Face's image folders have it, or {"image", "prompt"}.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base
from datasets.formats.references import reference
from datasets.models import RowType

IMAGE_KEYS = ("image", "file_name", "image_path", "image_file")
PROMPT_KEYS = ("prompt", "text", "caption", "description")
_OTHER = ("messages", "conversations", *base.REPLY_KEYS, "instruction", "output")


class ImageCaption(base.Format):
    key = "image_caption"
    label = _("Prompt + Image")
    description = _(
        'An archive of pictures, each with a file of the same name: .json with {"prompt": "…"}, or .txt with the '
        "description. Or one file of rows (metadata.jsonl) with file_name or image, and prompt or text."
    )
    row_type = RowType.IMAGE_CAPTION
    sample = "image_caption.jsonl"

    def recognises(self, record: Any) -> bool:
        return (
            isinstance(record, dict)
            and any(key in record for key in IMAGE_KEYS)
            and not any(key in record for key in _OTHER)
        )

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        image = next((key for key in IMAGE_KEYS if record.get(key) is not None), IMAGE_KEYS[0])
        prompt = next((key for key in PROMPT_KEYS if record.get(key) is not None), PROMPT_KEYS[0])
        return {
            "image": reference(base.required(record, image), image),
            "prompt": base.text(base.required(record, prompt), prompt),
        }

    def record(self, row: base.Row) -> dict[str, Any]:
        """A line of the metadata.jsonl of an image folder."""
        return {"file_name": row["image"], "text": row["prompt"]}
