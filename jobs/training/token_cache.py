"""Tokenised rows of larger files, kept for further runs on the same rows: another learning rate, a resumed run.

An entry is found by all that tokenising depends on: the rows' bytes, the tokenizer with its chat template, the length,
the joining of rows, and the code itself. Entries that nobody has used for a week go, and beyond a size those that have
not been used for longest; whether one is there changes nothing but the time.
"""

import hashlib
import json
import os
import time
from array import array
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jobs.training import chat, data, rows
from jobs.training.rows import Prepared, Tokens

FOLDER = "TRAINER_TOKENS"  # the environment variable that names the directory; without it nothing is kept
SMALLEST = 1_000_000  # bytes of a file of rows that is worth it: half a second of tokenising
MOST = 4 * 1024**3  # bytes of all entries
LONGEST = 7 * 86400  # seconds for which one that is not used is kept
COUNTS = ("truncated_rows", "dropped_rows", "joined_rows", "system_merged", "split_rows")


def prepare(path: Path, tokenizer: Any, max_length: int, **options: Any) -> Prepared:
    """`data.prepare`, or what it gave before."""
    folder = os.environ.get(FOLDER)
    if not folder or not path.is_file() or path.stat().st_size < SMALLEST:
        return data.prepare(path, tokenizer, max_length, **options)
    settings = {name: value for name, value in options.items() if name != "between_blocks"}
    entry = Path(folder) / f"{_key(path, tokenizer, max_length, settings)}.safetensors"
    with suppress(OSError, SafetensorError, KeyError, ValueError):
        prepared = _read(entry)
        os.utime(entry)
        print(f"{path.name}: tokenised before ({entry.stem[:12]})", flush=True)
        return prepared
    prepared = data.prepare(path, tokenizer, max_length, **options)
    with suppress(OSError, SafetensorError):
        _write(entry, prepared)
        _tidy(entry.parent)
    return prepared


def _key(path: Path, tokenizer: Any, max_length: int, settings: dict[str, Any]) -> str:
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    code = [Path(str(module.__file__)).read_text() for module in (chat, data, rows)]
    words = [tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, tokenizer.special_tokens_map]
    everything = [content, words, max_length, settings, code, version("transformers"), version("jinja2")]
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()


def _write(entry: Path, prepared: Prepared) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    ids = np.concatenate(
        [np.empty(0, np.int32), *(np.asarray(row.input_ids, np.int32) for row in prepared.rows)]
    )
    labels = np.concatenate(
        [np.empty(0, np.int32), *(np.asarray(row.labels, np.int32) for row in prepared.rows)]
    )
    lengths = np.array([len(row) for row in prepared.rows], np.int64)
    temporary = entry.with_suffix(f".{os.getpid()}.tmp")
    counts = {name: str(getattr(prepared, name)) for name in COUNTS}
    try:
        save_file({"ids": ids, "labels": labels, "lengths": lengths}, temporary, counts)
        temporary.rename(entry)
    finally:
        temporary.unlink(missing_ok=True)


def _read(entry: Path) -> Prepared:
    with safe_open(entry, framework="numpy") as file:
        prepared = Prepared()
        for name, value in file.metadata().items():
            setattr(prepared, name, int(value))
        ids, labels, lengths = (file.get_tensor(name) for name in ("ids", "labels", "lengths"))
    end = 0
    for length in lengths.tolist():
        start, end = end, end + length
        prepared.rows.append(
            Tokens(array("i", ids[start:end].tobytes()), array("i", labels[start:end].tobytes()))
        )
    return prepared


def _tidy(folder: Path) -> None:
    """Delete what has not been used for a week, and the oldest beyond the limit."""
    entries = sorted(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    total, oldest = 0, time.time() - LONGEST
    for entry in entries:
        total += entry.stat().st_size
        if total > MOST or entry.stat().st_mtime < oldest:
            entry.unlink(missing_ok=True)
