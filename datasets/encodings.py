"""Texts that are not UTF-8: recognised, so that a person is offered to read them as what they are, and converted."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from datasets.archives import Refused

CHUNK_BYTES = 1024 * 1024
# Python's name -> what people call it. GB18030 contains GBK and GB2312, CP949 contains EUC-KR.
ENCODINGS = {
    "gb18030": "GB18030 (GBK)",
    "big5": "Big5",
    "cp949": "EUC-KR (CP949)",
    "utf-16": "UTF-16",
    "utf-32": "UTF-32",
}
# Of the characters that are not ASCII, the share that must be common Chinese for a text to count as GB18030:
# read as GB18030, other encodings give rare characters.
COMMON_SHARE = 0.8
# Korean syllables have the bytes of the first half (to C8) of the common Chinese characters, which are sorted by sound.
# Of so many characters, at most this share of a Korean text lies beyond: a Chinese text has nearly half of them there.
KOREAN_FROM, BEYOND_SHARE = 8, 0.1


def recognised(start: bytes) -> str:
    """The key of ENCODINGS for a text that starts with these bytes; "" for UTF-8 and for anything unknown."""
    if start.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if _decodes(start, "utf-8") is not None or b"\0" in start:
        return ""
    # Of Big5's bytes, A4 to C6 begin its common characters.
    for encoding, common in (("gb18030", range(0xB0, 0xD8)), ("big5", range(0xA4, 0xC7))):
        leads = _leads(start, encoding)
        if leads and sum(lead in common for lead in leads) / len(leads) >= COMMON_SHARE:
            beyond = sum(lead > 0xC8 for lead in leads) / len(leads)
            is_korean = encoding == "gb18030" and len(leads) >= KOREAN_FROM and beyond <= BEYOND_SHARE
            return "cp949" if is_korean and _decodes(start, "cp949") is not None else encoding
    return ""


def _leads(start: bytes, encoding: str) -> list[int]:
    """The first byte of each different letter that is not ASCII; [] for another encoding."""
    text = _decodes(start, encoding) or ""
    letters = {letter for letter in text if not letter.isascii() and letter.isalpha()}
    return [letter.encode(encoding)[0] for letter in letters]


def _decodes(start: bytes, encoding: str) -> str | None:
    """The text, of which the last character may be cut; None where it is not in this encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(start)
    except UnicodeDecodeError:
        return None


@contextmanager
def as_utf8(file: IO[bytes], encoding: str) -> Iterator[IO[bytes]]:
    """Gives a copy of the file in UTF-8; raises Refused where the file is not in that encoding after all."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder(encoding)()
    passed = 0
    with tempfile.TemporaryFile() as copy:
        while True:
            chunk = file.read(CHUNK_BYTES)
            try:
                copy.write(decoder.decode(chunk, final=not chunk).encode())
            # UTF-16 may hold half a surrogate pair.
            except UnicodeError as error:
                raise Refused("encoding_failed", encoding=ENCODINGS[encoding], byte=passed + 1) from error
            if not chunk:
                break
            passed += len(chunk)
        copy.seek(0)
        yield copy
