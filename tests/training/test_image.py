"""Text to image: real trainer processes on a tiny SDXL and a tiny ERNIE-Image."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from tests.training.picture_runs import WORDS, caption, new_run, outside
from tests.training.runs import Run, interrupt, train

pytestmark = pytest.mark.training

TRAIN, HELD_OUT = [caption(*words) for words in WORDS[:10]], [caption(*words) for words in WORDS[10:]]


@pytest.fixture(scope="module")
def runs(picture_models: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Every run of this module, started once; one of them was killed before."""
    folder = tmp_path_factory.mktemp("runs")
    velocity, ernie = picture_models / "sdxl", picture_models / "ernie_image"
    # The tiny SDXL predicts velocities, as some descendants do; the original predicts the noise.
    sdxl = shutil.copytree(velocity, folder / "sdxl_model")
    schedule = sdxl / "scheduler" / "scheduler_config.json"
    schedule.write_text(json.dumps(json.loads(schedule.read_text()) | {"prediction_type": "epsilon"}))
    torn = shutil.copytree(sdxl, folder / "torn_model")
    weights = load_file(torn / "unet" / "diffusion_pytorch_model.safetensors")
    del weights["conv_in.bias"]
    save_file(weights, torn / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    deaf = shutil.copytree(sdxl, folder / "deaf_model")
    encoder = load_file(deaf / "text_encoder" / "model.safetensors")
    del encoder[next(name for name in encoder if name.endswith("token_embedding.weight"))]
    save_file(encoder, deaf / "text_encoder" / "model.safetensors", {"format": "pt"})
    other = shutil.copytree(sdxl, folder / "other_model")
    index = json.loads((other / "model_index.json").read_text()) | {"_class_name": "StableDiffusionPipeline"}
    (other / "model_index.json").write_text(json.dumps(index))

    def lora(name: str, base: Path = sdxl, rows: list[dict] = TRAIN, **values: int | float | str) -> Run:
        return new_run(folder / name, base, "image", "LoRA", rows, HELD_OUT, **({"epoch": 1} | values))

    steps = {
        "epoch": 4,
        "batchSize": 5,
        "learningRate": 0.01,
        "saveStep": 3,
        "validationStep": 4,
        "loraAlpha": 16,
    }
    made = {
        "lora": lora("lora", **steps),
        "killed": lora("killed", **steps),
        "full": new_run(
            folder / "full",
            ernie,
            "image",
            "FullFineTuning",
            TRAIN,
            HELD_OUT,
            epoch=10,
            batchSize=5,
            learningRate=0.002,
            validationStep=5,
        ),
        "sdxl_full": new_run(
            folder / "sdxl_full", velocity, "image", "FullFineTuning", TRAIN, epoch=1, batchSize=5
        ),
        "ernie_lora": lora("ernie_lora", ernie, learningRate=0.01),
        "torn": lora("torn", torn),
        "deaf": lora("deaf", deaf),
        "other": lora("other", other),
        "lost": lora("lost", rows=[*TRAIN, {"image": "images/lost.png", "prompt": "a lost circle"}]),
        "broken": lora("broken", rows=[*TRAIN, {"image": "images/broken.png", "prompt": "half a circle"}]),
        "many": lora("many", rows=[{"image": ["a.png", "b.png"], "prompt": "two"}]),
        "packing": lora("packing", packing="true"),
    }
    whole = folder / "broken/data" / TRAIN[0]["image"]
    (folder / "broken/data/images/broken.png").write_bytes(whole.read_bytes()[:120])
    assert interrupt(made["killed"], after_step=4, number=signal.SIGKILL) == -signal.SIGKILL
    result = train(*made.values())
    assert result.returncode == 1, result.stderr  # some are meant to fail
    return made


def test_lora_trains_the_adapter_and_leaves_the_base(runs: dict[str, Run], picture_models: Path) -> None:
    layers = load_file(runs["lora"].path / "output" / "pytorch_lora_weights.safetensors")
    second = [value for name, value in layers.items() if ".lora_B." in name or ".lora.up." in name]
    assert second and all(abs(value).max() > 0 for value in second)  # they start at zero
    checkpoint = load_file(runs["lora"].path / "checkpoints" / "checkpoint-8" / "model.safetensors")
    assert all(".lora_" in name for name in checkpoint)
    start = runs["lora"].last("start")["parameters"]
    assert 0 < start["trainable"] < start["total"] / 10


@pytest.mark.parametrize(
    ("name", "base", "network"), [("full", "ernie_image", "transformer"), ("sdxl_full", "sdxl", "unet")]
)
def test_full_training_moves_every_tensor(
    runs: dict[str, Run], picture_models: Path, name: str, base: str, network: str
) -> None:
    file = f"{network}/diffusion_pytorch_model.safetensors"
    before, after = load_file(picture_models / base / file), load_file(runs[name].path / "output" / file)
    assert before.keys() == after.keys()
    assert not [tensor for tensor in before if (before[tensor] == after[tensor]).all()]


def test_the_loss_on_held_out_pictures_falls(runs: dict[str, Run]) -> None:
    losses = list(runs["full"].metric("eval_loss").values())  # the same noise each time
    assert losses[-1] < losses[0]


def test_killed_and_resumed_equals_uninterrupted(runs: dict[str, Run]) -> None:
    killed, whole = runs["killed"], runs["lora"]
    assert [event["resumed_from"] for event in killed.all("start")] == [None, 3]
    for metric in ("loss", "eval_loss", "grad_norm"):
        assert killed.metric(metric) == whole.metric(metric)
    # Tensors, not bytes: the order of the file's metadata differs from process to process.
    one, other = (load_file(run.path / "output/pytorch_lora_weights.safetensors") for run in (killed, whole))
    assert one.keys() == other.keys()
    assert all((one[name] == other[name]).all() for name in one)


def test_samples_of_held_out_prompts_at_every_checkpoint(runs: dict[str, Run]) -> None:
    run = runs["lora"]
    samples = run.all("sample")
    assert [event["step"] for event in samples] == [0, 0, 3, 3, 6, 6, 8, 8]
    assert {event["prompt"] for event in samples} == {row["prompt"] for row in HELD_OUT}
    assert all((run.path / event["path"]).stat().st_size > 0 for event in samples)


def test_metrics_and_resolved_values_are_those_of_pictures(runs: dict[str, Run]) -> None:
    run = runs["lora"]
    assert set(run.last("done")["metrics"]) == {
        "loss", "learning_rate", "grad_norm", "samples_per_second", "eval_loss",
    }  # fmt: skip
    resolved = run.last("start")["resolved"]
    assert resolved["saveStep"] == {"value": 3, "origin": "user"}
    assert resolved["schedulerName"]["origin"] == "trainer"
    assert "maxSeqLen" not in resolved and "packing" not in resolved
    assert not (run.path / "encoded").exists()


def test_outputs_load_outside_of_the_product(
    runs: dict[str, Run], picture_models: Path, tmp_path: Path
) -> None:
    spec = json.loads((runs["lora"].path / "spec.json").read_text())
    seen = outside(
        f"""
import json, numpy, torch
from PIL import Image
from diffusers import ErnieImagePipeline, StableDiffusionXLPipeline

def draw(pipe):
    picture = pipe("a red circle", height=64, width=64, num_inference_steps=2,
                   generator=torch.Generator().manual_seed(0)).images[0]
    return numpy.asarray(picture, dtype=int)

base = StableDiffusionXLPipeline.from_pretrained({spec["base"]["path"]!r})
before = draw(base)
base.load_lora_weights({str(runs["lora"].path / "output")!r})
pixels = base.image_processor.preprocess(Image.open({str(runs["lora"].path / "data" / TRAIN[0]["image"])!r}))
config = next(iter(base.unet.peft_config.values()))
full = StableDiffusionXLPipeline.from_pretrained({str(runs["sdxl_full"].path / "output")!r})
ernie = ErnieImagePipeline.from_pretrained({str(runs["full"].path / "output")!r})
ernie_before = draw(ernie)
ernie.load_lora_weights({str(runs["ernie_lora"].path / "output")!r})
print(json.dumps({{
    "changed": int(abs(draw(base) - before).sum()),
    "alpha": config.lora_alpha,
    "full": draw(full).shape,
    "lost": (base.vae(pixels, sample_posterior=False).sample - pixels).abs().mean().item(),
    "ernie": int(abs(draw(ernie) - ernie_before).sum()),
    "shape": ernie_before.shape,
}}))
""",
        tmp_path,
    )
    assert seen["changed"] > 0 and seen["ernie"] > 0
    assert seen["alpha"] == 16
    assert seen["shape"] == seen["full"] == [64, 64, 3]
    assert seen["lost"] < 0.15  # the tiny autoencoder gives back what it gets, but for detail


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("torn", "weights_broken", "the tensor conv_in.bias is missing"),
        ("deaf", "weights_broken", "token_embedding.weight is missing"),
        ("other", "weights_missing", "it holds a StableDiffusionPipeline"),
        ("lost", "image_missing", "train.jsonl, line 11: the picture images/lost.png does not exist"),
        ("broken", "image_broken", "train.jsonl, line 11: the picture images/broken.png cannot be read"),
        ("many", "data_row_invalid", "train.jsonl, line 1 is not a usable picture with a prompt"),
        ("packing", "spec_invalid", "packing means nothing"),
    ],
)
def test_a_failure_is_one_sentence_that_names_the_place(
    runs: dict[str, Run], name: str, code: str, words: str
) -> None:
    failed = runs[name].last("failed")
    assert failed["code"] == code
    assert words in failed["message"] and "\n" not in failed["message"] and failed["message"].endswith(".")
