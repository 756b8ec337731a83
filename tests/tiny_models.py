"""Tiny models of real architectures, made once a test run by the product's own maker."""

from __future__ import annotations

from pathlib import Path

from tests import forks

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "datasets" / "samples" / "assistant.jsonl"


def make_tiny(directory: Path, architecture: str, *options: str) -> Path:
    """Makes the model in `directory` (random weights unless the options say otherwise) and returns it."""
    script = "import runpy; runpy.run_module('jobs.training.tiny', run_name='__main__', alter_sys=True)"
    arguments = ("--architecture", architecture, "--texts", str(SAMPLE), "--steps", "0", *options)
    forks.run(script, directory, *arguments).check_returncode()
    return directory
