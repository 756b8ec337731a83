"""Tokenised rows of larger files, kept for further runs on the same rows: another learning rate, a resumed run.

An entry is found by all that tokenising depends on: the rows' bytes, the tokenizer with its chat template, the length,
the joining of rows, and the code itself. Entries that nobody has used for a week go, and beyond a size those that have
not been used for longest; whether one is there changes nothing but the time.
"""

import hashlib
import json
import os
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.training import chat, data, rows, token_rows
from jobs.training.token_rows import Tokenised

FOLDER = "TRAINER_TOKENS"  # the environment variable that names the directory; without it nothing is kept
SMALLEST = 1_000_000  # bytes of a file of rows that is worth it: half a second of tokenising
MOST = 4 * 1024**3  # bytes of all entries
LONGEST = 7 * 86400  # seconds for which one that is not used is kept


def prepare(path: Path, tokenizer: Any, max_length: int, **options: Any) -> Tokenised:
    """`data.prepare`, or what it gave before."""
    folder = os.environ.get(FOLDER)
    if not folder or not path.is_file() or path.stat().st_size < SMALLEST:
        return data.prepare(path, tokenizer, max_length, **options)
    settings = {name: value for name, value in options.items() if name != "between_blocks"}
    entry = Path(folder) / f"{_key(path, tokenizer, max_length, settings)}.arrow"
    with suppress(OSError, ValueError, KeyError), entry.open("rb") as file:
        prepared = token_rows.read(file)
        os.utime(entry)
        print(f"{path.name}: tokenised before ({entry.stem[:12]})", flush=True)
        return prepared
    temporary = entry.with_suffix(f".{os.getpid()}.tmp")
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w+b") as file:
            prepared = data.prepare(path, tokenizer, max_length, into=file, **options)
        temporary.rename(entry)
        _tidy(entry.parent)
    except OSError as error:
        # What is kept saves time and no more: a full disk there is no reason to fail here.
        print(f"{path.name}: what was tokenised cannot be kept ({error})", flush=True)
        prepared = data.prepare(path, tokenizer, max_length, **options)
    finally:
        temporary.unlink(missing_ok=True)
    return prepared


def _key(path: Path, tokenizer: Any, max_length: int, settings: dict[str, Any]) -> str:
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    code = [Path(str(module.__file__)).read_text() for module in (chat, data, rows, token_rows)]
    words = [tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, tokenizer.special_tokens_map]
    everything = [content, words, max_length, settings, code, version("transformers"), version("jinja2")]
    return hashlib.sha256(json.dumps(everything, sort_keys=True, default=str).encode()).hexdigest()


def _tidy(folder: Path) -> None:
    """Delete what has not been used for a week, and the oldest beyond the limit."""
    entries = sorted(folder.glob("*.arrow"), key=lambda path: path.stat().st_mtime, reverse=True)
    total, oldest = 0, time.time() - LONGEST
    for entry in entries:
        total += entry.stat().st_size
        if total > MOST or entry.stat().st_mtime < oldest:
            entry.unlink(missing_ok=True)
