"""Prompt + Image + Response, for image understanding: a conversation about one picture.

Qianfan's PromptImageResponse ({"images", "messages"}), LLaVA's {"image", "conversations"}, and {"image", "prompt",
"response"} as tables have it, or question and answer.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from datasets.formats import base, messages, sharegpt
from datasets.formats.references import MARK, has_part, is_picture, settle_mark, single
from datasets.models import RowType


class ImageMessages(base.Format):
    key = "prompt_image_response"
    label = _("Prompt + Image + Response")
    description = _(
        "One conversation a line with exactly one picture: images (a path in the archive, or a base64 data URL) and "
        "messages, where <ImageHere> or <image> marks the picture's place. LLaVA's image and conversations are "
        "read as well. Upload the pictures with it, best in one archive."
    )
    row_type = RowType.IMAGE_MESSAGES
    sample = "image_messages.jsonl"

    def recognises(self, record: Any) -> bool:
        if not isinstance(record, dict):
            return False
        talks = any(key in record for key in ("messages", "conversations", *base.REPLY_KEYS))
        return talks and ("images" in record or "image" in record or has_part(record))

    def row(self, record: Any) -> base.Row:
        base.expect(record, "object", "")
        record = _with_parts(record)
        image = single(record)
        field = next((key for key in ("messages", "conversations") if key in record), "")
        if field == "messages":
            row = messages.conversation(record).row(field)
        elif field:
            row = sharegpt.conversation(record).row(field)
        else:
            conversation = base.Conversation()
            if system := base.optional_text(record, "system"):
                conversation.system(system, "system")
            asked, answered = base.key_of(record, base.QUESTION_KEYS), base.key_of(record, base.REPLY_KEYS)
            conversation.user(base.required(record, asked), asked)
            conversation.assistant(base.required(record, answered), answered)
            row = conversation.row(field)
        settle_mark(row["messages"], field)
        return {"image": image, "messages": row["messages"]}

    def record(self, row: base.Row) -> dict[str, Any]:
        return {"images": [row["image"]], "messages": row["messages"]}


def _with_parts(record: dict[str, Any]) -> dict[str, Any]:
    """The record with pictures taken out of its messages: `images` beside them, marks in their places."""
    if not has_part(record):
        return record
    given = record.get("images")
    images = list(given) if isinstance(given, list) else [given] if given else []
    rewritten = []
    for message in record["messages"]:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            parts = []
            for part in content:
                if not is_picture(part):
                    parts.append(part)
                    continue
                if picture := part.get("image_url") or part.get("image"):
                    images.append(picture)
                parts.append({"type": "text", "text": MARK})
            message = {**message, "content": parts}
        rewritten.append(message)
    return {**record, "images": images, "messages": rewritten}
