"""Many lines as one text, so that they are judged, told apart and stored together instead of one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
import xxhash

Array = np.ndarray[Any, Any]


class Joined:
    """Lines, each with its end, one after the other in `content`; `starts` are the places of their first bytes, and
    at last the length of the content. Lines themselves hold no line break."""

    def __init__(self, content: bytes, starts: Array) -> None:
        self.content = content
        self.starts = starts

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> Self:
        starts = np.zeros(len(lines) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1, out=starts[1:])
        return cls(b"".join([line + b"\n" for line in lines]), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.content[self.starts[number] : self.starts[number + 1] - 1]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.content.split(b"\n")[:-1])

    def digests(self) -> Array:
        """64 bits that stand for each line (datasets.columns.digest)."""
        view = memoryview(self.content)
        pieces = [view[start : stop - 1] for start, stop in pairwise(self.starts.tolist())]
        return np.fromiter(map(xxhash.xxh3_64_intdigest, pieces), np.uint64, len(pieces))

    def column(self) -> pa.BinaryArray:
        """The lines without their ends."""
        offsets = (self.starts - np.arange(len(self.starts))).astype(np.int32)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(self.content.replace(b"\n", b""))]
        return pa.Array.from_buffers(pa.binary(), len(self), buffers)
