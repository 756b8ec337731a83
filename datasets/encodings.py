"""Texts that are not UTF-8: recognised, so that a person is offered to read them as what they are, and converted."""

from __future__ import annotations

import codecs
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from datasets.archives import Refused

CHUNK_BYTES = 1024 * 1024
# Python's name -> what people call it. GB18030 contains GBK and GB2312.
ENCODINGS = {"gb18030": "GB18030 (GBK)", "utf-16": "UTF-16"}
# Of the characters that are not ASCII, the share that must be common Chinese for a text to count as GB18030:
# read as GB18030, other encodings give rare characters.
COMMON_SHARE = 0.8


def recognised(start: bytes) -> str:
    """The key of ENCODINGS for a text that starts with these bytes; "" for UTF-8 and for anything unknown."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if _decodes(start, "utf-8") is not None or b"\0" in start:
        return ""
    text = _decodes(start, "gb18030")
    if text is None:
        return ""
    foreign = [character for character in text if not character.isascii()]
    common = len("".join(foreign).encode("gb2312", "ignore")) // 2
    return "gb18030" if foreign and common / len(foreign) >= COMMON_SHARE else ""


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
