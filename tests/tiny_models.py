"""Tiny models of real architectures, made once a test run by the product's own maker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "datasets" / "samples" / "assistant.jsonl"


def make_tiny(directory: Path, architecture: str, *options: str) -> Path:
    """Makes the model in `directory` (random weights unless the options say otherwise) and returns it."""
    subprocess.run(
        [
            *(sys.executable, "-m", "jobs.training.tiny", str(directory)),
            *("--architecture", architecture, "--texts", str(SAMPLE), "--steps", "0", *options),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return directory
