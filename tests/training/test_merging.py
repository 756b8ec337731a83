"""Merged weights say what adapter and base model say together, to whoever has only the public libraries."""

from __future__ import annotations

import json

import pytest

from tests import forks
from tests.training import picture_runs
from tests.training.runs import ROWS, make_run

pytestmark = pytest.mark.training

# Makes, trains and merges; another process with the public libraries alone looks on afterwards.
INSIDE = """
import sys
from pathlib import Path
from jobs.training import tiny, tiny_images
from jobs.training.__main__ import main
text, base, picture, pipeline = sys.argv[1:]
texts = Path(base).with_name("texts.jsonl")
tiny.make(Path(base), "llama", texts, hidden=32, steps=0)
tiny_images.make(Path(pipeline), "sdxl", texts, steps=0)
assert main([text, picture]) == 0
for run in (text, picture):
    assert main(["--merge", run, f"{run}/merged"]) == 0
"""
OUTSIDE = """
import json, sys, torch
from diffusers import DiffusionPipeline
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

assert "jobs" not in sys.modules
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


def test_merged_weights_equal_base_and_adapter(tmp_path):
    values = {"epoch": 2, "batchSize": 4, "learningRate": 1e-2}
    llama, sdxl = tmp_path / "llama", tmp_path / "sdxl"
    words = [picture_runs.caption(*pair) for pair in picture_runs.WORDS[:4]]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    spec = values | {"loraAllLinear": "True", "maxSeqLen": 64}
    text = make_run(tmp_path / "text", llama, "text", "LoRA", ROWS[:8], **spec)
    picture = picture_runs.new_run(tmp_path / "picture", sdxl, "image", "LoRA", words, **values)
    paths = (text.path, llama, picture.path, sdxl)
    forks.run(INSIDE, *paths).check_returncode()
    process = forks.run(OUTSIDE, *paths, cwd=tmp_path, inside=False)
    assert process.returncode == 0, process.stderr[-3000:]
    far = json.loads(process.stdout.splitlines()[-1])
    assert far["text"] < 1e-5 < far["text learned"]
    assert far["picture"] < 1e-4 < far["picture learned"]
