"""Columns that take minutes to be written, kept so that a worker that is killed loses little of them.

A Parquet file cannot be read without its end, which says where its row groups lie. `save` writes one in between: cut
behind it, the file is whole. What is added later follows, and the last end speaks for all row groups. Nothing is
compressed or copied twice; a few kB that nobody reads any more are the price.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets.columns import Writer


class GrowingWriter(Writer):
    """Writes rows into the file at `path`, behind those of the whole file that lies there, if any."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Of the row groups that lie before an end, and how many bytes they take with it.
        self._metadata: Any = None
        self._saved_bytes = 0
        if path.exists():
            self._metadata = pq.read_metadata(path)
            self._saved_bytes = path.stat().st_size
        self._groups = 0
        self._file = self._appended()
        super().__init__(self._file)

    def save(self) -> int:
        """Brings all rows so far to the disk; returns the bytes at the start of the file that are whole with them."""
        self._flush()
        self._wait()
        if self._groups:
            self._parquet.close()
            self._end()
            self._file = self._appended()
            self._parquet = self._begun(self._file)
        return self._saved_bytes

    def close(self) -> None:
        """Writes what waits and the last end."""
        is_open = self._parquet.is_open
        super().close()
        if is_open:
            self._end()

    def _appended(self) -> pa.OSFile:
        """The end of the file, for a ParquetWriter.

        That begins only where a file says that it is at place 0, and then takes the places of its pages from it. What
        is written to a file open for appending goes to its end wherever it is, and from then on it is there.
        """
        file = pa.OSFile(str(self.path), "ab")
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        return file

    def _write(self, tables: list[pa.Table]) -> None:
        super()._write(tables)
        self._groups += 1

    def _end(self) -> None:
        """Follows the end of the newest row groups by one of all."""
        self._file.close()
        newest = self._parquet.writer.metadata
        self._groups = 0
        with pa.OSFile(str(self.path), "ab") as file:
            if self._metadata is None:
                self._metadata = newest
            else:
                self._metadata.append_row_groups(newest)
                self._metadata.write_metadata_file(file)
            file.flush()
            os.fsync(file.fileno())
        self._saved_bytes = self.path.stat().st_size
