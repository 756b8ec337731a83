"""How soon and how fast a model answers: `python -m bench.serving [TOKENS]`, on a tiny Llama, in one run.

Cold is from starting the process to the first piece of text, warm the same once the model is in the memory. The speed
of a stream, as a web process gets it out of the pool, is a ratio to plain `model.generate` of the same length in
another process. Everything lies in a temporary directory and goes with it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOKENS = 256
TIMES = 5
SAMPLE = Path("datasets") / "samples" / "assistant.jsonl"
PLAIN = """
import sys, time, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
path, tokens, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
model, tokenizer = AutoModelForCausalLM.from_pretrained(path), AutoTokenizer.from_pretrained(path)
asked = tokenizer("What can you do?", return_tensors="pt")
for _ in range(times):
    began = time.monotonic()
    made = model.generate(**asked, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=True, top_k=0)
    print((made.shape[1] - asked["input_ids"].shape[1]) / (time.monotonic() - began))
"""


def main() -> None:
    tokens = int(sys.argv[1]) if len(sys.argv) > 1 else TOKENS
    with tempfile.TemporaryDirectory(prefix="jingtiao-bench-") as directory:
        model = Path(directory) / "llama"
        made = [sys.executable, "-m", "jobs.training.tiny", str(model), "--architecture", "llama"]
        subprocess.run([*made, "--texts", str(SAMPLE), "--steps", "0"], check=True, capture_output=True)
        cold, warm, streamed = measure(model, Path(directory), tokens)
        command = [sys.executable, "-c", PLAIN, str(model), str(tokens), str(TIMES)]
        output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=directory).stdout
    plain = statistics.median(map(float, output.split()))
    print(f"first text, cold        {cold:8.2f} s")
    print(f"first text, warm        {warm * 1000:8.1f} ms")
    print(f"streamed                {streamed:8.1f} tokens/s")
    print(f"plain model.generate    {plain:8.1f} tokens/s")
    print(f"streamed / plain        {streamed / plain:8.2f}")


def measure(model: Path, directory: Path, tokens: int) -> tuple[float, float, float]:
    """Seconds to the first text cold and warm, and tokens a second of whole answers; medians of TIMES."""
    os.environ.update(VAR_DIR=str(directory), DJANGO_SETTINGS_MODULE="console.settings", TRAINER_DEVICE="cpu")
    import django

    django.setup()
    from catalog.serving import Pool
    from jobs.training.serving_protocol import Load, Sampling, Task, Turn

    pool = Pool(1, 600)
    firsts, speeds = [], []
    for _time in range(TIMES + 1):
        task = Task(0, [Turn("user", "What can you do?")], Sampling(max_tokens=tokens))
        began, first = time.monotonic(), 0.0
        for said in pool.answer(Load("text", str(model), device="cpu"), task):
            if said is not None and said.type == "delta":
                first = first or time.monotonic() - began
            elif said is not None and said.type == "done":
                firsts.append(first)
                speeds.append(said.completion_tokens / (time.monotonic() - began))
    pool.close()
    return firsts[0], statistics.median(firsts[1:]), statistics.median(speeds[1:])


if __name__ == "__main__":
    main()
