"""What is worth a second look in a good row. It only warns: every hint can be meant as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

import numpy as np

from datasets.joined import Joined

# Chinese mobile numbers; before them another digit must not stand, which is asked apart: it is faster so.
_PHONE = re.compile(rb"1[3-9]\d{9}(?!\d)")
# The birthday in the middle of a Chinese identity number (GB 11643), with the four characters after it. Two
# expressions, because one that starts with a fixed text is found several times faster.
_REST = rb"\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)"
_BIRTHDAYS = (re.compile(rb"19" + _REST), re.compile(rb"20" + _REST))
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_DOMAIN = re.compile(rb"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
_BEFORE_AT = re.compile(rb"[A-Za-z0-9]\Z")

# Shorter texts say too little about their language.
LANGUAGE_CHARACTERS = 20
# Longer ones say enough with their start.
JUDGED_CHARACTERS = 1000
_DIGITS = frozenset(b"0123456789")


def personal_data(text: bytes) -> Iterator[str]:
    """Yields kinds of datasets.problems.KINDS for what seems to be personal data in one or more JSON lines."""
    if _has_phone(text):
        yield "phone_number"
    if _has_identity_number(text):
        yield "identity_number"
    if b"@" in text and _has_address(text):
        yield "email_address"


def suspects(lines: Joined) -> list[int]:
    """The numbers of the lines that `personal_data` could find something in. Most blocks have none, which is seen
    without looking at each line."""
    # Eleven digits in a row fill two neighbouring words of four bytes, wherever they start.
    content = np.frombuffer(lines.content, np.uint8)
    is_digit = content[: len(content) // 4 * 4] - np.uint8(ord("0")) < 10
    digits = is_digit.view(np.uint32) == 0x01010101
    places = 4 * np.flatnonzero(digits[:-1] & digits[1:])
    if b"@" in lines.content:
        places = np.concatenate((places, np.flatnonzero(content == ord("@"))))
    if not places.size:
        return []
    return sorted(set((np.searchsorted(lines.starts, places, "right") - 1).tolist()))


def _stands_alone(line: bytes, start: int) -> bool:
    return not start or line[start - 1] not in _DIGITS


def _has_phone(line: bytes) -> bool:
    return any(_stands_alone(line, match.start()) for match in _PHONE.finditer(line))


def _has_identity_number(line: bytes) -> bool:
    for match in chain(*(birthday.finditer(line) for birthday in _BIRTHDAYS)):
        start = match.start() - 6
        number = line[max(0, start) : match.end()]
        if start >= 0 and number[:6].isdigit() and _stands_alone(line, start):
            total = sum(weight * (digit - 48) for weight, digit in zip(_ID_WEIGHTS, number, strict=False))
            if b"10X98765432"[total % 11] == number[-1:].upper()[0]:
                return True
    return False


def _has_address(line: bytes) -> bool:
    return any(_BEFORE_AT.search(line[max(0, at.start() - 1) : at.start()]) for at in _DOMAIN.finditer(line))


def said_oddly(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Yields kinds of datasets.problems.KINDS for what is odd in a conversation."""
    if mixes_languages(messages):
        yield "mixed_languages"
    if any(message["role"] == "assistant" and not message["content"].strip() for message in messages):
        yield "empty_reply"


def mixes_languages(messages: list[dict[str, Any]]) -> bool:
    """True if a question and its reply are in different scripts."""
    for question, reply in pairwise(messages):
        if reply["role"] == "assistant" and differ(question["content"], reply["content"]):
            return True
    return False


def differ(question: str, reply: str) -> bool:
    """True for texts that are mostly in different scripts."""
    # Two texts of ASCII are the most common pair. Calls of tools and their results are in nobody's language.
    if (question.isascii() and reply.isascii()) or question[:1] == "<" or reply[:1] == "<":
        return False
    asked, answered = script(question), script(reply)
    return bool(asked and answered and asked != answered)


def script(text: str) -> str:
    """ "latin" or "han" for a text that is mostly in one of them; "" for others, mixtures and short texts."""
    text = text[:JUDGED_CHARACTERS]
    length = len(text)
    if length < LANGUAGE_CHARACTERS:
        return ""
    if text.isascii():
        return "latin"
    # Chinese characters take three bytes in UTF-8, two more than ASCII.
    share = (len(text.encode("utf-8", "replace")) - length) / (2 * length)
    return "latin" if share < 0.05 else "han" if share > 0.4 else ""
