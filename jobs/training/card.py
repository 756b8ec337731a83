"""The model card of a run: what the weights come from, as JSON and as the README.md that goes with them.

Made from the files of a run directory alone, so it says what the trainer really did. Standard library and msgspec
only.
"""

import json
import re
from pathlib import Path
from typing import Any

from jobs.training.events import FILE_NAME as EVENTS
from jobs.training.events import read_events
from jobs.training.spec import FILE_NAME as SPEC
from jobs.training.trainers import FULL, LORA, QLORA, SFT, mode_of, scale_of

CARD, README = "model_card.json", "README.md"
MERGED = "merged"  # the folder of the full weights beside an adapter
IN_FOUR_BITS = (
    "While the adapter was trained, the linear layers of the base model were kept in 4 bits (NF4, scales quantised "
    "themselves). It works beside the base model in 4 bits as well as in its own precision; merged weights are in "
    "the base model's own."
)
ADAPTERS = ("adapter_config.json", "pytorch_lora_weights.safetensors")


def build(run_dir: Path) -> dict[str, Any]:
    """{"base", "method", "trainer", "hyperparameters", "data", "metrics", "parameters", "steps", "versions", …};
    what a file that is not there would say is left out.
    """
    spec = _read(run_dir / SPEC)
    events = {event["type"]: event for event in read_events(run_dir / EVENTS)[0]}
    start, done, prepared = (events.get(name, {}) for name in ("start", "done", "prepared"))
    base = spec.get("base", {})
    counted = {
        key: prepared[key] for key in ("rows", "eval_rows", "tokens", "trained_tokens") if key in prepared
    }
    return {
        "schema": 1,
        "run": spec.get("run"),
        "base": {"name": base.get("name"), "licence": licence(Path(base["path"])) if base else None},
        "trainer": spec.get("trainer"),
        "method": spec.get("method"),
        "hyperparameters": {key: entry["value"] for key, entry in start.get("resolved", {}).items()},
        "data": {**counted, **_read(run_dir / "data" / "mix.json")},
        "metrics": done.get("metrics", {}),
        "steps": done.get("step"),
        "seconds": done.get("seconds"),
        "parameters": start.get("parameters", {}),
        "dtype": start.get("dtype"),
        "versions": start.get("versions", {}),
        "finished_at": done.get("time"),
    }


def licence(weights: Path) -> str | None:
    """The licence that a directory of weights names: in the head of its README.md, or as a LICENSE file's title."""
    try:
        text = (weights / README).read_text(errors="replace")
    except OSError:
        text = ""
    head = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
    named = re.search(r"^license(?:_name)?:\s*(\S+)", head[1], re.MULTILINE) if head else None
    if named:
        return named[1].strip("\"'")
    for path in sorted(weights.glob("LICEN[CS]E*")):
        lines = (line.strip() for line in path.read_text(errors="replace").splitlines())
        return next((line for line in lines if line), None)
    return None


def render(card: dict[str, Any], files: set[str]) -> str:
    """README.md for a card; `files` are the names of what lies beside it, which says how it is loaded."""
    base = card["base"]
    title = card.get("model", {}).get("label") or card["run"] or "Trained model"
    tags = _tags(card["method"] or "")
    head = ["---", *([f"license: {base['licence']}"] if _is_word(base["licence"]) else [])]
    head += [
        f"base_model: {json.dumps(base['name'], ensure_ascii=False)}",
        f"tags: {json.dumps(tags)}",
        "---",
    ]
    data, parameters = card["data"], card["parameters"]
    about = {
        "Base model": base["name"],
        "Licence of the base model": base["licence"] or "not named by its weights",
        "Method": card["method"],
        "Steps": card["steps"],
        "Parameters": _count(parameters.get("total")),
        "Trained parameters": _count(parameters.get("trainable")),
        "Finished": card["finished_at"],
    }
    hashes = {f"sha256 of {name} rows": value for name, value in data.get("data_sha256", {}).items() if value}
    rows = {name: _count(value) for name, value in data.items() if isinstance(value, int)}
    mix = {
        item["label"]: f"{item['rows_trained']} of {item['rows_available']} rows"
        for item in data.get("mix", [])
    }
    sections = {
        "How to load it": _loading(card, files),
        "Training": _table(about),
        "Data": _table(rows | mix | hashes),
        "Hyperparameters": _table(card["hyperparameters"]),
        "Metrics": _table(card["metrics"]),
        "Libraries": _table(card["versions"]),
    }
    if scale_of(card["method"] or "") == QLORA:
        sections["Training"] += f"\n\n{IN_FOUR_BITS}"
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items() if text)
    return "\n".join(head) + f"\n\n# {title}\n\n{body}\n"


def _tags(method: str) -> list[str]:
    scale = {LORA: ["lora"], QLORA: ["lora", "qlora"], FULL: ["full-fine-tuning"]}.get(scale_of(method), [])
    return scale if mode_of(method) == SFT else [mode_of(method).lower(), *scale]


def _loading(card: dict[str, Any], files: set[str]) -> str:
    merged = any(name.startswith(f"{MERGED}/") for name in files)
    lines = []
    if card["trainer"] == "image":
        if "pytorch_lora_weights.safetensors" in files:
            lines += [
                "from diffusers import DiffusionPipeline",
                'pipe = DiffusionPipeline.from_pretrained("BASE")  # the base model named below',
                'pipe.load_lora_weights(".")',
            ]
        else:
            lines += [
                "from diffusers import DiffusionPipeline",
                'pipe = DiffusionPipeline.from_pretrained(".")',
            ]
        if merged:
            lines += [f'pipe = DiffusionPipeline.from_pretrained("{MERGED}")  # the same, adapter merged in']
    else:
        auto = {
            "vision": "AutoModelForImageTextToText",
            "reward": "AutoModelForSequenceClassification",
        }.get(card["trainer"], "AutoModelForCausalLM")
        number = ", num_labels=1" if card["trainer"] == "reward" else ""
        lines += [f"from transformers import {auto}"]
        if "adapter_config.json" in files:
            lines += [
                "from peft import PeftModel",
                f'model = {auto}.from_pretrained("BASE"{number})  # the base model named below',
                'model = PeftModel.from_pretrained(model, ".")',
            ]
        else:
            lines += [f'model = {auto}.from_pretrained(".")']
        if merged:
            lines += [f'model = {auto}.from_pretrained("{MERGED}")  # the same, adapter merged in']
        if card["trainer"] == "reward":
            lines += [
                "from transformers import AutoTokenizer",
                'tokenizer = AutoTokenizer.from_pretrained(".")',
                'chat = [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]',
                'ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=True)',
                "reward = model(**ids).logits[0, 0]  # higher is better; the model gives no text",
            ]
    return "```python\n" + "\n".join(lines) + "\n```"


def _table(values: dict[str, Any]) -> str:
    lines = [
        f"| {_cell(name)} | {_cell(value)} |" for name, value in values.items() if value not in (None, "")
    ]
    return "\n".join(["| | |", "|---|---|", *lines]) if lines else ""


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _is_word(text: str | None) -> bool:
    return bool(text and re.fullmatch(r"[\w.-]+", text))


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
