"""Whole conversations that are written as one text: Glaive's function calls (chat), Guanaco (text)."""

from __future__ import annotations

import re
from typing import Any

# By the key that holds the text: what stands before each message.
_SPEAKERS = {
    "chat": re.compile(r"(?:\A|\n)(USER|ASSISTANT|FUNCTION RESPONSE):"),
    "text": re.compile(r"###\s*(Human|Assistant):"),
}
_FROM = {
    "USER": "human",
    "Human": "human",
    "ASSISTANT": "gpt",
    "Assistant": "gpt",
    "FUNCTION RESPONSE": "observation",
}
_CALL, _END = "<functioncall>", "<|endoftext|>"


def is_transcript(record: dict[str, Any]) -> bool:
    """True for a record with such a text."""
    return _key(record) is not None


def as_sharegpt(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its text as a list of `conversations`; one without such a text as it is."""
    key = _key(record)
    if key is None:
        return record
    said = [_message(speaker, text) for speaker, text in spoken(record[key].strip(), _SPEAKERS[key])]
    system = record.get("system")
    if isinstance(system, str):
        system = system.removeprefix("SYSTEM:").strip()
    return {"conversations": said, "system": system}


def spoken(text: str, speaker: re.Pattern[str]) -> list[tuple[str, str]]:
    """Who speaks, as the one group of `speaker` has it, and what is said, of a text that begins with a speaker."""
    _start, *parts = speaker.split(text)
    return list(zip(parts[::2], parts[1::2], strict=True))


def _message(speaker: str, text: str) -> dict[str, str]:
    text = text.replace(_END, "").strip()
    if speaker == "ASSISTANT" and text.startswith(_CALL):
        return {"from": "function_call", "value": text.removeprefix(_CALL).strip()}
    return {"from": _FROM[speaker], "value": text}


def _key(record: dict[str, Any]) -> str | None:
    for key, speaker in _SPEAKERS.items():
        if isinstance(text := record.get(key), str) and speaker.match(text.lstrip()):
            return key
    return None
