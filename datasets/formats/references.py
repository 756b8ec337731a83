"""How records refer to pictures, and the marks that say where in a text a picture stands."""

from __future__ import annotations

import re
from typing import Any

from datasets.formats import base

# Qianfan's <ImageHere> (<Image1Here> with several pictures) and the <image> of LLaVA and most public data.
MARK = "<image>"
_MARKS = re.compile(r"<image>|<Image\d*Here>")
_ADDRESS = re.compile(r"(?:https?|ftp|s3|bos)://", re.IGNORECASE)


def reference(value: Any, field: str) -> str | bytes:
    """Returns a path, a data URL or the bytes of a picture; raises RowError for anything else.

    {"bytes", "path"} is what Parquet files of Hugging Face hold, {"url"} the form of OpenAI's messages.
    """
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("url") or value.get("path")
    if isinstance(value, bytes):
        return value
    text = base.text(value, field)
    if _ADDRESS.match(text):
        raise base.RowError(field, "picture_address")
    return text.strip()


def single(record: dict[str, Any]) -> str | bytes:
    """The one picture of a record, from `images` or `image`; raises RowError where there are none or several."""
    field = "images" if record.get("images") is not None else "image"
    value = base.required(record, field)
    if not isinstance(value, list):
        return reference(value, field)
    if not value:
        raise base.RowError(field, "empty_list")
    if len(value) > 1:
        raise base.RowError(field, "several_pictures", count=len(value))
    return reference(value[0], f"{field}[0]")


def settle_mark(messages: list[base.Message], field: str) -> None:
    """Leaves one <image> in the first user message, at its start where there was no mark; raises RowError."""
    first = next(message for message in messages if message["role"] == "user")
    marked = [message for message in messages if _MARKS.search(message["content"])]
    found = sum(len(_MARKS.findall(message["content"])) for message in marked)
    if not marked:
        first["content"] = f"{MARK}\n{first['content']}"
    elif found > 1:
        raise base.RowError(field, "several_marks", count=found)
    elif marked[0] is not first:
        raise base.RowError(field, "mark_not_first")
    else:
        first["content"] = _MARKS.sub(MARK, first["content"])


def _parts(record: dict[str, Any]) -> list[tuple[dict[str, Any], Any]]:
    """The messages whose content is a list of parts, as OpenAI's API has them."""
    found = record.get("messages")
    return [
        (message, message["content"])
        for message in (found if isinstance(found, list) else [])
        if isinstance(message, dict) and isinstance(message.get("content"), list)
    ]


def is_picture(part: Any) -> bool:
    """True for a part of a message that is a picture."""
    return isinstance(part, dict) and part.get("type") in ("image_url", "image")


def has_part(record: dict[str, Any]) -> bool:
    """True if a message of the record has a picture among its parts."""
    return any(is_picture(part) for _message, content in _parts(record) for part in content)
