"""Every row of the catalogue trains: `python -m bench.all_rows [PART_OF_A_NAME …]`, `make all-rows`.

Makes tiny weights of every architecture, binds them to all base models, creates a job for each base model and method
by the wizard's own form, trains each to the end, publishes it, and loads what was published in a process that knows
nothing of this project; merged weights must say there what base and adapter say. Prints a table; the exit code is 1
unless every row got through. With parts of names, only the rows of those base models. Everything lies in a temporary
directory and goes with it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from bench.swap import refusal, set_up, signed_in, tear_down

ROOT = Path(__file__).resolve().parents[1]
STEPS = 30  # of pre-training: enough for a loss that falls
ROWS = 104
SLOTS = 2  # rows that train at the same time
COLOURS, SHAPES = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle")


@dataclass
class Row:
    """One line of the table."""

    model: str
    method: str
    architecture: str
    run: Any = None
    seconds: float = 0.0
    first: float = float("nan")
    last: float = float("nan")
    problem: str = ""


def main() -> int:
    wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="jingtiao-rows-") as name:
        directory = Path(name)
        set_up(directory)
        rows = train_all(directory, wanted)
        load_outside(directory, rows)
        for row in rows:
            print(
                f"{row.model:32} {row.method:15} {row.architecture:15} {row.seconds:6.1f} s  "
                f"{row.first:7.3f} → {row.last:7.3f}  {row.problem or 'done, published, loaded'}"
            )
        tear_down()
    bad = sum(bool(row.problem) for row in rows)
    print(f"{len(rows) - bad} of {len(rows)} rows")
    return 1 if bad or not rows else 0


def train_all(directory: Path, wanted: list[str]) -> list[Row]:
    from django.conf import settings
    from django.db import connection

    from catalog.models import BaseModel, Offer, WeightsKind
    from jobs import follow, lifecycle, publishing, warm

    enabled = Offer.objects.filter(enabled=True).select_related("base_model__family")
    offers = [o for o in enabled if not wanted or any(part in o.base_model.name for part in wanted)]
    architectures = sorted({offer.base_model.architecture for offer in offers})
    make_weights(directory / "tiny", architectures)
    for architecture in architectures:
        BaseModel.objects.filter(architecture=architecture).update(
            weights_kind=WeightsKind.DIRECTORY, weights_location=str(directory / "tiny" / architecture)
        )
    submit_run = _submitter()
    rows: dict[int, Row] = {}
    for number, offer in enumerate(offers, 1):
        offer.base_model.refresh_from_db()
        row = Row(offer.base_model.name, offer.method, offer.base_model.architecture)
        try:
            row.run = submit_run(offer, f"row {number}")
        except Exception as error:  # one row must not keep the others from the table
            row.problem = f"{type(error).__name__}: {error}"
        rows[row.run.pk if row.run else -number] = row
    settings.TRAINING_SLOTS = SLOTS
    started = time.monotonic()
    finished = itertools.count(1)

    def work() -> None:
        """A slot of a training worker: run after run, until there is none."""
        while (claimed := lifecycle.claim_next(lifecycle.follower_name())) is not None:
            row, began = rows[claimed.pk], time.monotonic()
            try:
                follow.carry_out(claimed)
                publishing.publish(claimed.pk)
            except Exception as error:
                row.problem = f"{type(error).__name__}: {error}"
            row.seconds = time.monotonic() - began
            row.run.refresh_from_db()
            _judge(row)
            place = f"{next(finished)} of {len(offers)}, {time.monotonic() - started:.0f} s"
            line = f"{place}: {row.model} {row.method} {row.seconds:.1f} s {row.problem}"
            print(line, file=sys.stderr, flush=True)
        connection.close()

    with ThreadPoolExecutor(SLOTS) as pool:
        for slot in [pool.submit(work) for _number in range(SLOTS)]:
            slot.result()
    warm.let_go()
    return list(rows.values())


def _judge(row: Row) -> None:
    from jobs.run_files import run_directory
    from jobs.training.events import read_events

    if row.problem:
        return
    events = read_events(run_directory(row.run) / "events.jsonl")[0]
    losses = [e["values"]["loss"] for e in events if e["type"] == "metrics" and "loss" in e["values"]]
    if losses:
        row.first, row.last = losses[0], losses[-1]
    if row.run.state != "Done":
        failed = [event["message"] for event in events if event["type"] == "failed"]
        row.problem = f"{row.run.state}: {failed[-1] if failed else row.run.failure}"
    elif row.run.publication != "published":
        row.problem = f"not published: {row.run.publication_note}"


def make_weights(directory: Path, architectures: list[str]) -> None:
    """All of them in one process, which costs the imports once."""
    directory.mkdir()
    lines = [{"messages": chat} for chat in _chats()]
    (directory / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    script = (
        f"import sys; sys.path[:] = [p for p in sys.path if p not in ('', {str(ROOT)!r})] + [{str(ROOT)!r}]\n"
        "from pathlib import Path\n"
        "from jobs.training import tiny, tiny_images\n"
        f"root = Path({str(directory)!r})\n"
        f"for name in {architectures!r}:\n"
        "    maker = tiny_images.make if name in tiny.WITH_PICTURES else tiny.make\n"
        f"    maker(root / name, name, root / 'texts.jsonl', steps={STEPS})\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, stdout=sys.stderr)


def _chats() -> list[list[dict[str, str]]]:
    return [
        [
            {"role": "user", "content": f"What colour is {shape} {number}?"},
            {"role": "assistant", "content": f"The {shape} {number} is {COLOURS[number % 4]}."},
        ]
        for number in range(ROWS // 2)
        for shape in SHAPES[:2]
    ]


def _preferences() -> dict[str, list[dict[str, Any]]]:
    """The same chats as rows of preferences, by their kind."""
    asked = [(chat[:1], chat[1]["content"], "I do not know.") for chat in _chats()]
    return {
        "preference": [
            {"messages": question, "chosen": good, "rejected": bad} for question, good, bad in asked
        ],
        "binary_preference": [
            {"messages": question, "completion": bad if number % 3 else good, "label": not number % 3}
            for number, (question, good, bad) in enumerate(asked)
        ],
        "ranked": [
            {
                "messages": question,
                "responses": [
                    {"content": bad, "score": 0},
                    {"content": good, "score": 2},
                    {"content": f"{good} Or not.", "score": 1},
                ],
            }
            for question, good, bad in asked
        ],
    }


def _submitter() -> Any:
    """What fills in the wizard for an offer: its own defaults, but one pass over a small set of its kind."""
    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage
    from django.urls import reverse

    from catalog.models import OfferedHyperparameter
    from console.models import Workspace
    from datasets.columns import Writer
    from datasets.formats.base import texts, turns
    from datasets.models import Dataset, DatasetVersion, VersionState
    from jobs.data_rules import rules_for
    from jobs.models import Run

    client, _uid = signed_in()
    workspace = Workspace.objects.get()

    def version_of(kind: str, rows: list[dict[str, Any]], pictures: dict[str, bytes]) -> DatasetVersion:
        dataset = Dataset.objects.create(workspace=workspace, name=kind, row_type=kind)
        version = DatasetVersion.objects.create(
            dataset=dataset,
            number=1,
            state=VersionState.PUBLISHED,
            row_count=len(rows),
            turn_count=len(rows),
            character_count=40 * len(rows),
        )
        stored = BytesIO()
        with Writer(stored) as writer:
            for place, row in enumerate(rows, 1):
                size = sum(map(len, texts(row)))
                writer.add(json.dumps(row).encode(), turns(row), size, file="rows.jsonl", place=place)
        content = ContentFile(stored.getvalue())
        version.rows_path = default_storage.save(f"datasets/{version.uid}/rows.parquet", content)
        version.save()
        for name, picture in pictures.items():
            default_storage.save(f"datasets/{version.uid}/{name}", ContentFile(picture))
        return version

    drawn = _pictures()
    pictures = {name: picture for name, (_words, picture) in drawn.items()}
    made = {
        "messages": version_of("messages", [{"messages": chat} for chat in _chats()], {}),
        **{kind: version_of(kind, rows, {}) for kind, rows in _preferences().items()},
        "image_caption": version_of(
            "image_caption",
            [{"image": name, "prompt": words} for name, (words, _picture) in drawn.items()],
            pictures,
        ),
        "image_messages": version_of(
            "image_messages",
            [
                {
                    "image": name,
                    "messages": [
                        {"role": "user", "content": "<image>\nWhat is this?"},
                        {"role": "assistant", "content": f"{words}."},
                    ],
                }
                for name, (words, _picture) in drawn.items()
            ],
            pictures,
        ),
    }

    def submit_run(offer: Any, name: str) -> Any:
        epochs = OfferedHyperparameter.objects.get(offer=offer, key="epoch")
        kind = offer.base_model.family.model_type
        form = {
            "name": name,
            "type": kind,
            "family": offer.base_model.family.key,
            "base_model": offer.base_model.name,
            "method": offer.method,
            "hp-epoch": str(int(epochs.minimum or 1)),
            "source": made[rules_for(kind, offer.method).row_type].uid,
            "auto_publish": "on",
            "model_name": name.replace(" ", "-"),
        }
        answer = client.post(reverse("jobs:create"), form)
        if answer.status_code != 302:
            raise RuntimeError(f"the wizard refused it: {refusal(answer)}")
        return Run.objects.get(uid=answer["Location"].rstrip("/").rpartition("/")[2])

    return submit_run


def _pictures() -> dict[str, tuple[str, bytes]]:
    """Twelve drawn shapes of 64 pixels and the words for each, by the name that an import would store them under."""
    from PIL import Image, ImageDraw

    drawn = {}
    for colour in COLOURS:
        for shape in SHAPES:
            picture = Image.new("RGB", (64, 64), "white")
            pen = ImageDraw.Draw(picture)
            if shape == "circle":
                pen.ellipse((16, 16, 48, 48), fill=colour)
            elif shape == "square":
                pen.rectangle((16, 16, 48, 48), fill=colour)
            else:
                pen.polygon(((32, 12), (52, 52), (12, 52)), fill=colour)
            file = BytesIO()
            picture.save(file, "PNG")
            name = f"images/{hashlib.sha256(file.getvalue()).hexdigest()[:16]}.png"
            drawn[name] = f"a {colour} {shape}", file.getvalue()
    return drawn


# --- Outside -------------------------------------------------------------------------------------------------------

# Knows transformers, peft and diffusers only. One line in: [[number, kind, base, directory], …]; a line out for each:
# [number, problem].
LOADER = """
import json, sys, traceback
from pathlib import Path
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers import AutoModelForSequenceClassification
def model(path, kind):
    if kind == "RM":
        return AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)
    if (Path(path) / "baichuan.py").exists() and "baichuan" not in sys.modules:
        sys.path.insert(0, str(path))
        import baichuan
    return (AutoModelForImageTextToText if kind == "imageUnderstanding" else AutoModelForCausalLM).from_pretrained(path)
def say(model, tokenizer, kind):
    ids = tokenizer("What colour", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = model.eval()(input_ids=ids).logits
        assert torch.isfinite(logits).all()
        if kind == "RM":
            assert logits.shape == (1, 1)
        else:
            assert model.generate(input_ids=ids, max_new_tokens=4, do_sample=False).shape[1] > ids.shape[1]
    return logits
def draw(pipe):
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 1, "height": 64, "width": 64, "output_type": "pt"}
    return pipe("a red circle", generator=torch.Generator().manual_seed(1), **options).images
def same(merged, adapted):
    far = (merged.float() - adapted.float()).abs().max().item()
    assert far < 1e-3 * max(1, adapted.abs().max().item()), f"merged weights answer otherwise, by {far:.2g}"
def check(kind, base, path):
    path = Path(path)
    adapter = (path / "adapter_config.json").exists() or (path / "pytorch_lora_weights.safetensors").exists()
    if kind == "text2image":
        from diffusers import DiffusionPipeline
        pipe = DiffusionPipeline.from_pretrained(base if adapter else path)
        if not adapter:
            return draw(pipe)
        pipe.load_lora_weights(path)
        return same(draw(DiffusionPipeline.from_pretrained(path / "merged")), draw(pipe))
    loader = AutoProcessor if kind == "imageUnderstanding" else AutoTokenizer
    tokenizer = loader.from_pretrained(path)
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer)
    if not adapter:
        return say(model(path, kind), tokenizer, kind)
    from peft import PeftModel
    merged = say(model(path / "merged", kind), tokenizer, kind)
    same(merged, say(PeftModel.from_pretrained(model(base, kind), path), tokenizer, kind))
for number, kind, base, path in json.loads(sys.stdin.readline()):
    try:
        check(kind, base, path)
        problem = ""
    except Exception as error:
        traceback.print_exc()
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
    print("\\n" + json.dumps([number, problem]), flush=True)
"""


def load_outside(directory: Path, rows: list[Row]) -> None:
    from django.core.files.storage import default_storage

    orders = [
        [
            number,
            "RM" if row.method.startswith("RM-") else row.run.job.model_type,
            str(directory / "tiny" / row.architecture),
            default_storage.path(row.run.model_version.path),
        ]
        for number, row in enumerate(rows)
        if not row.problem
    ]
    with _elsewhere() as (place, environment):
        process = subprocess.run(
            [sys.executable, "-c", LOADER],
            input=json.dumps(orders) + "\n",
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    told = dict(map(json.loads, filter(lambda line: line.startswith("["), process.stdout.splitlines())))
    for number in (int(order[0]) for order in orders):
        rows[number].problem = told.get(number, "the process that loads ended before it")
        rows[number].problem = rows[number].problem and f"not loaded: {rows[number].problem}"


@contextmanager
def _elsewhere() -> Iterator[tuple[str, dict[str, str]]]:
    """An empty working directory and an environment without our paths."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as place:
        yield place, environment | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}


if __name__ == "__main__":
    sys.exit(main())
