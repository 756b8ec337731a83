"""Merged weights say what adapter and base model say together, to whoever has only the public libraries."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.training import picture_runs
from tests.training.runs import ENVIRONMENT, PRELUDE, ROOT, ROWS

pytestmark = pytest.mark.training

OUTSIDE = """
import json, sys, torch
from diffusers import DiffusionPipeline
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

text, base, picture, pipeline = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(f"{text}/merged")
ids = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], return_tensors="pt", return_dict=True)
plain = AutoModelForCausalLM.from_pretrained(base).eval()
bare = plain(**ids).logits
adapted = PeftModel.from_pretrained(plain, f"{text}/output").eval()(**ids).logits
merged = AutoModelForCausalLM.from_pretrained(f"{text}/merged").eval()(**ids).logits

def draw(pipe):
    pipe.set_progress_bar_config(disable=True)
    made = pipe("a red circle", num_inference_steps=2, generator=torch.Generator().manual_seed(1), output_type="pt")
    return made.images

drawn = [draw(DiffusionPipeline.from_pretrained(f"{picture}/merged"))]
pipe = DiffusionPipeline.from_pretrained(pipeline)
drawn.append(draw(pipe))
pipe.load_lora_weights(f"{picture}/output")
drawn.append(draw(pipe))
far = lambda one, other: (one - other).abs().max().item()
print(json.dumps({
    "text": far(adapted, merged), "text learned": far(bare, merged),
    "picture": far(drawn[0], drawn[2]), "picture learned": far(drawn[0], drawn[1]),
}))
"""


def test_merged_weights_equal_base_and_adapter(models, picture_models, new_run, tmp_path):
    values = {"epoch": 2, "batchSize": 4, "learningRate": 1e-2}
    text = new_run("llama", "LoRA", ROWS, loraAllLinear="True", maxSeqLen=64, **values)
    words = [picture_runs.caption(*pair) for pair in picture_runs.WORDS[:4]]
    picture = picture_runs.new_run(tmp_path, picture_models / "sdxl", "image", "LoRA", words, **values)
    script = PRELUDE + "from jobs.training.__main__ import main\n"
    script += f"assert main([{str(text.path)!r}, {str(picture.path)!r}]) == 0\n"
    for run in (text, picture):
        script += f"assert main(['--merge', {str(run.path)!r}, {str(run.path / 'merged')!r}]) == 0\n"
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    paths = [text.path, models / "llama", picture.path, picture_models / "sdxl"]
    process = subprocess.run(
        [sys.executable, "-c", OUTSIDE, *map(str, paths)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    far = json.loads(process.stdout.splitlines()[-1])
    assert far["text"] < 1e-5 < far["text learned"]
    assert far["picture"] < 1e-4 < far["picture learned"]
