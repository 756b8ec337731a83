"""Weights of ChatGLM2/3 and Baichuan2 in their own layout -> the layout of classes that transformers has.

    python -m jobs.training.convert SOURCE TARGET [--variant chatglm3-32k] [--allow-pickle]

The original repositories bring their own code, which is never executed here. ChatGLM becomes a GLM, Baichuan2-7B a
Llama, Baichuan2-13B a Llama with ALiBi (baichuan.py); same function, other names. Goes file by file, so that the
memory holds one file of weights at a time. TARGET is there when everything is in it, and not before.

Some of these repositories publish pickled weights (.bin) only. They are read with --allow-pickle, by torch's loader
that accepts nothing but tensors; the product itself never asks for that.
"""

import sys
from pathlib import Path

# Before anything else is imported: the installed library `datasets` comes before the app of the same name.
_root = str(Path(__file__).resolve().parents[2])
sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _root] + [_root]

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
from typing import Any  # noqa: E402

from jobs.training.events import TrainingFailure  # noqa: E402
from jobs.training.original import (  # noqa: E402
    NEEDED,
    VARIANTS,
    conversion_failure,
    original_kind,
    variant_of,
)


def convert(source: Path, target: Path, *, variant: str = "", allow_pickle: bool = False) -> None:
    """Write the converted model and its tokenizer. `variant` is one of VARIANTS, or empty where the name of the
    directory tells. Raises TrainingFailure with a sentence naming what is wrong.
    """
    about, kind = _read_config(source)
    files = _weight_files(source, allow_pickle)
    variant = variant or variant_of(f"{about.get('_name_or_path', '')} {source.name}")
    # What can be seen in the files was seen before these load torch and transformers, which takes seconds.
    from jobs.training.convert_tokenizer import convert_tokenizer
    from jobs.training.convert_weights import convert_weights

    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    convert_weights(source, files, about, unfinished, kind, variant)
    convert_tokenizer(source, unfinished, kind, variant)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)


def _read_config(source: Path) -> tuple[dict[str, Any], str]:
    """The source's config.json with all that the conversion reads, and the kind that it is."""
    try:
        about = json.loads((source / "config.json").read_text())
        kind = original_kind(about)
    except (OSError, ValueError, AttributeError) as error:
        raise conversion_failure(source, f"its config.json cannot be read ({error})") from None
    if kind is None:
        raise conversion_failure(source, "it is neither a ChatGLM2/3 nor a Baichuan2 in its original layout")
    if lost := [key for key in NEEDED[kind] if key not in about]:
        raise conversion_failure(source, f"its config.json lacks '{lost[0]}'")
    return about, kind


def _weight_files(source: Path, allow_pickle: bool) -> list[Path]:
    if files := sorted(source.glob("*.safetensors")):
        return files
    pickled = sorted(source.glob("pytorch_model*.bin"))
    if pickled and not allow_pickle:
        raise conversion_failure(
            source,
            "it has pickled weights (.bin) only, which are not read without being told to; an operator who trusts "
            "their origin runs python -m jobs.training.convert SOURCE TARGET --allow-pickle",
        )
    if not pickled:
        raise conversion_failure(source, "it has no *.safetensors")
    return pickled


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "--variant", choices=VARIANTS, default="", help="which ChatGLM it is, if its name does not tell"
    )
    parser.add_argument("--allow-pickle", action="store_true", help="read .bin where there is nothing else")
    options = parser.parse_args(arguments)
    os.environ |= {"HF_HUB_OFFLINE": "1"}
    try:
        convert(options.source, options.target, variant=options.variant, allow_pickle=options.allow_pickle)
    except TrainingFailure as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
