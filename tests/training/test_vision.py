"""Image understanding: real trainer processes on a tiny LLaVA-v1.6, and how its rows become tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from jobs.training.chat import NEUTRAL_TEMPLATE
from jobs.training.events import TrainingFailure
from jobs.training.picture_rows import prepare_pictures
from jobs.training.rows import IGNORED
from tests.training.picture_runs import WORDS, new_run, outside, question
from tests.training.runs import Run, conversation, killed_after, train

pytestmark = pytest.mark.training

ROWS = [question(*words) for words in WORDS]
PICTURE = ROWS[0]["image"]


@pytest.fixture(scope="module")
def model(picture_models: Path) -> Path:
    return picture_models / "llava_next"


@pytest.fixture(scope="module")
def runs(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Every run of this module, in one process."""
    folder = tmp_path_factory.mktemp("runs")

    def make(name: str, method: str, rows: list[dict] = ROWS, **values: Any) -> Run:
        return new_run(folder / name, model, "vision", method, rows, ROWS, **({"epoch": 1} | values))

    long = {"image": PICTURE, **conversation("Tell me. " * 30, "A shape.")}
    made = {
        "full": make(
            "full",
            "FullFineTuning",
            epoch=60,
            batchSize=12,
            learningRate=0.005,
            validationStep=60,
            saveStep=50,
            checkpointCount=2,
        ),
        "lora": make("lora", "LoRA", epoch=2, batchSize=4, learningRate=0.01, loraRank=4, saveStep=2),
        "long": make("long", "LoRA", [*ROWS, long], maxSeqLen=128),
        "none": make("none", "FullFineTuning", maxSeqLen=64),
        "lost": make("lost", "LoRA", [*ROWS, {**ROWS[0], "image": "images/lost.png"}]),
        "pixels": make("pixels", "LoRA", [{**ROWS[0], "image": "../spec.json"}]),
    }
    result = train(*made.values())
    assert result.returncode == 1, result.stderr  # some are meant to fail
    return made


def test_full_training_moves_the_weights_and_sees_the_picture(runs: dict[str, Run], model: Path) -> None:
    before, after = (
        load_file(model / "model.safetensors"),
        load_file(runs["full"].path / "output/model.safetensors"),
    )
    assert before.keys() == after.keys()
    still = [name for name in before if (before[name] == after[name]).all()]
    # CLIP's last layer and last norm are not read: LLaVA takes the layer before.
    assert all(
        name.startswith(("vision_tower.post_layernorm", "vision_tower.encoder.layers.2.")) for name in still
    )
    # Questions are all alike, so 12 answers can only be told apart by looking.
    assert runs["full"].metric("eval_token_accuracy")[60] > 0.95


def test_full_training_resumes_where_it_was(runs: dict[str, Run]) -> None:
    killed = killed_after(runs["full"], 50)
    assert train(killed).returncode == 0
    one, other = (load_file(run.path / "output/model.safetensors") for run in (runs["full"], killed))
    assert killed.last("start")["resumed_from"] == 50
    assert all((one[name] == other[name]).all() for name in one)


def test_lora_trains_the_language_model_only(runs: dict[str, Run]) -> None:
    output = runs["lora"].path / "output"
    adapter = load_file(output / "adapter_model.safetensors")
    assert all(".language_model." in name for name in adapter)
    assert all(abs(value).max() > 0 for name, value in adapter.items() if ".lora_B." in name)
    assert json.loads((output / "adapter_config.json").read_text())["r"] == 4
    assert runs["lora"].resolved("loraAllLinear") == "True"
    assert "packing" not in runs["lora"].last("start")["resolved"]


def test_rows_too_long_are_left_out_and_counted(runs: dict[str, Run]) -> None:
    prepared = runs["long"].last("prepared")
    assert (prepared["rows"], prepared["dropped_rows"]) == (len(ROWS), 1)
    assert runs["long"].last("warning")["code"] == "rows_too_long"
    failed = runs["none"].last("failed")
    assert failed["code"] == "no_rows_left" and "tokens with its picture" in failed["message"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lost", "train.jsonl, line 13: the picture images/lost.png does not exist."),
        ("pixels", "train.jsonl, line 1: the picture ../spec.json lies outside of the data directory."),
    ],
)
def test_a_missing_picture_is_one_sentence(runs: dict[str, Run], name: str, words: str) -> None:
    failed = runs[name].last("failed")
    assert (failed["code"], failed["message"]) == ("image_missing", words)


def test_outputs_load_outside_of_the_product(runs: dict[str, Run], model: Path, tmp_path: Path) -> None:
    seen = outside(
        f"""
import json
from peft import PeftModel
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

processor = AutoProcessor.from_pretrained({str(runs["full"].path / "output")!r})
talk = [{{"role": "user", "content": [{{"type": "image"}}, {{"type": "text", "text": "What is this?"}}]}}]
text = processor.apply_chat_template(talk, add_generation_prompt=True)
picture = Image.open({str(runs["full"].path / "data" / PICTURE)!r})
inputs = processor(images=picture, text=text, return_tensors="pt", add_special_tokens=False)
full = AutoModelForImageTextToText.from_pretrained({str(runs["full"].path / "output")!r})
reply = full.generate(**inputs, max_new_tokens=20, do_sample=False)[0, inputs["input_ids"].shape[1]:]
base = AutoModelForImageTextToText.from_pretrained({str(model)!r})
before = base(**inputs).logits
adapted = PeftModel.from_pretrained(base, {str(runs["lora"].path / "output")!r})
print(json.dumps({{
    "reply": processor.tokenizer.decode(reply, skip_special_tokens=True).strip(),
    "ends": reply[-1].item() == processor.tokenizer.eos_token_id,
    "moved": (adapted(**inputs).logits - before).abs().max().item(),
}}))
""",
        tmp_path,
    )
    assert seen["reply"] == "A red circle." and seen["ends"]
    assert seen["moved"] > 0


# --- Rows ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processor(model: Path) -> Any:
    from transformers import LlavaNextProcessor

    return LlavaNextProcessor.from_pretrained(model)


@pytest.fixture
def prepare(processor: Any, model: Path, tmp_path: Path):
    """Prepares one row."""

    def one(row: dict[str, Any]) -> Any:
        run = new_run(tmp_path / "run", model, "vision", "LoRA", [row])
        return prepare_pictures(run.path / "data" / "train.jsonl", processor, 4096)

    return one


def test_the_loss_is_on_the_reply_and_the_picture_has_its_tokens(prepare: Any, processor: Any) -> None:
    (row,) = prepare(ROWS[0]).rows
    reply = [label for label in row.labels if label != IGNORED]
    assert processor.tokenizer.decode(reply) == " A red circle." + processor.tokenizer.eos_token
    (expected,) = processor._get_num_multimodal_tokens(image_sizes=[(64, 72)])["num_image_tokens"]
    assert row.input_ids.count(processor.image_token_id) == expected


def test_a_picture_without_a_mark_comes_first(prepare: Any, processor: Any) -> None:
    (row,) = prepare({"image": PICTURE, **conversation("What is this?", "A circle.", "Sure?", "Yes.")}).rows
    text = processor.tokenizer.decode(row.input_ids)
    assert text.startswith("<s>USER: <image><image>") and text.count("<image>\nWhat is this?") == 1


# As the published LLaVA-v1.6: the start mark is left to the tokenizer, and replies are marked.
PUBLISHED_TEMPLATE = (
    "{% for m in messages %}{{ m['role'].upper() + ': ' }}"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ part['text'] + ' ' }}{% endgeneration %}"
    "{% else %}{{ part['text'] + ' ' }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


@pytest.mark.parametrize("template", [PUBLISHED_TEMPLATE, NEUTRAL_TEMPLATE])
def test_other_templates_give_one_start_mark_and_one_picture(
    prepare: Any, processor: Any, monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    from tokenizers.processors import TemplateProcessing

    adds_start = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    monkeypatch.setattr(processor.tokenizer.backend_tokenizer, "post_processor", adds_start)
    monkeypatch.setattr(processor, "chat_template", template)
    (row,) = prepare(ROWS[0]).rows
    text = processor.tokenizer.decode(row.input_ids)
    assert text.startswith("<s>") and text.count("<s>") == 1
    assert text.endswith("A red circle.</s>")
    assert processor.image_token_id in row.input_ids


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (conversation("<image> and <image>?", "Two."), "it has 2 times <image>, and a row has one picture"),
        (conversation("What?", "<image>"), "<image> may stand in user turns only"),
    ],
)
def test_more_than_one_picture_in_a_row_is_refused(prepare: Any, talk: dict, words: str) -> None:
    with pytest.raises(TrainingFailure, match=words) as failure:
        prepare({"image": PICTURE, **talk})
    assert failure.value.message.startswith("train.jsonl, line 1 ")
