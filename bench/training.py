"""How soon a run trains and how fast: `python -m bench.training [start|speed|overhead|all] [ROUNDS]`.

start: seconds from sending the wizard's form (what a click on the button does) until the console has the first
optimiser step of the run, with an idle worker that has a warm trainer and with one that has none (TRAINER_WARM=0);
the tiny Llama, LoRA, the median of ROUNDS runs. PostgreSQL, Redis, worker and runs lie in a temporary directory and
go with it.

speed: a Llama of 7 million parameters, the same rows, batch, length and learning rate, full-parameter, by our
trainer, by transformers' Trainer alone and by TRL's SFTTrainer, each in a process of its own (bench/peers.py) on
one thread, taking turns ROUNDS times; processor seconds a step and tokens a second, without loading. "packed" is ours
with packing: a step has more tokens, and so another loss. LLaMA-Factory's command line takes part too; it is installed
once into an environment of its own (var/bench/llamafactory, about 3 GB) where the package index can be reached;
LLAMAFACTORY names another llamafactory-cli, or is "no".

overhead: what events, metrics and checkpoints take of such a run, as shares of its processor time.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GOAL_SECONDS = 3.0
GOAL_SHARE = 0.02
ROUNDS = 2  # all of it takes about eight minutes of two quiet cores
PEERS = ("ours", "packed", "transformers", "trl", "llamafactory")
OURS = ("ours", "packed")


def main() -> None:
    what = sys.argv[1] if len(sys.argv) > 1 else "all"
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    with tempfile.TemporaryDirectory(prefix="jingtiao-bench-") as directory:
        if what in ("speed", "all"):
            speed(Path(directory), rounds)
        if what in ("overhead", "all"):
            overhead(Path(directory))
        if what in ("start", "all"):
            start(Path(directory), max(3, rounds))


# --- From the click to the first step ---------------------------------------------------------------------------


def start(directory: Path, rounds: int) -> None:
    from bench.swap import set_up, tear_down

    set_up(directory)
    make_run = _prepared(directory)
    medians = {}
    for name, warm in (("warm", "1"), ("cold", "0")):
        with _worker(directory / f"{name}.log", warm):
            if warm == "1":
                _wait(lambda: "libraries loaded" in (directory / "warm.log").read_text())
            seconds = [_first_step(make_run) for _round in range(rounds)]
        medians[name] = statistics.median(seconds)
        listed = " ".join(f"{value:.2f}" for value in seconds)
        print(f"first step after the click, {name:5} {medians[name]:6.2f} s median of {listed}", flush=True)
    verdict = "kept" if medians["warm"] < GOAL_SECONDS else "MISSED"
    print(f"goal of {GOAL_SECONDS:g} s: {verdict}; cold / warm = {medians['cold'] / medians['warm']:.1f}")
    tear_down()


def _prepared(directory: Path) -> Any:
    """A workspace with data and a bound tiny model; returns what sends the wizard's form."""
    from django.urls import reverse

    from bench.swap import refusal, signed_in
    from catalog.models import BaseModel, Offer, WeightsKind
    from datasets.models import DatasetVersion
    from jobs.demo import make_weights
    from jobs.models import Run
    from tests.rows import store_rows

    client, uid = signed_in()
    version = DatasetVersion.objects.get(uid=uid)
    rows = [_conversation(number) for number in range(120)]
    version.rows_path = store_rows(f"datasets/{uid}/rows.parquet", rows)
    version.row_count = version.turn_count = len(rows)
    version.save()
    model = BaseModel.objects.get(
        pk=Offer.objects.filter(method="LoRA", base_model__family__key="llama")[0].base_model_id
    )
    model.weights_kind, model.weights_location = WeightsKind.DIRECTORY, str(make_weights("llama"))
    model.save()
    form = {
        "type": "text2text",
        "family": model.family.key,
        "base_model": model.name,
        "method": "LoRA",
        "source": uid,
        "hp-epoch": "1",
        "hp-batchSize": "4",
        "hp-maxSeqLen": "512",
    }

    def make_run() -> Any:
        answer = client.post(reverse("jobs:create"), {**form, "name": f"bench {time.monotonic_ns()}"})
        if answer.status_code != 302:
            raise SystemExit(f"the wizard refused it: {refusal(answer)}")
        return Run.objects.get(uid=answer["Location"].rstrip("/").rpartition("/")[2])

    return make_run


@contextmanager
def _worker(log: Path, warm: str) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "console",
        "worker",
        "-Q",
        "training",
        "-n",
        f"{log.stem}@%h",
    ]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*command, "-P", "threads", "-c", "1", "-l", "info", "--without-gossip", "--without-mingle"],
            cwd=ROOT,
            env={**os.environ, "TRAINER_WARM": warm},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait(lambda: " ready." in log.read_text())
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _first_step(make_run: Any) -> float:
    """Creates a run and returns after how many seconds the console had its first step; waits for its end."""
    time.sleep(1)  # an idle worker
    began = time.monotonic()
    run = make_run()
    _wait(lambda: run.metrics.filter(key="loss").exists(), 0.02)
    seconds = time.monotonic() - began
    _wait(lambda: run.refresh_from_db() or run.is_terminal)
    if run.state != "Done":
        raise SystemExit(f"{run.uid}: {run.state}, {run.failure}")
    return seconds


def _wait(condition: Any, interval: float = 0.1, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("waited too long")
        time.sleep(interval)


# --- Throughput -------------------------------------------------------------------------------------------------


def overhead(directory: Path) -> None:
    _make_model(directory)
    shares = _peer("overhead", directory, False)
    listed = "  ".join(f"{name} {100 * share:.2f} %" for name, share in shares.items())
    verdict = "kept" if sum(shares.values()) < GOAL_SHARE else "MISSED"
    print(f"of a run of 128 steps: {listed}; goal of {100 * GOAL_SHARE:g} % in all: {verdict}", flush=True)


def _make_model(directory: Path) -> None:
    data = directory / "train.jsonl"
    data.write_text("".join(json.dumps(_conversation(number)) + "\n" for number in range(64)))
    _peer("model", directory, False)


def speed(directory: Path, rounds: int) -> None:
    _make_model(directory)
    found: dict[tuple[str, bool], list[dict[str, float]]] = {}
    peers = [name for name in PEERS if name != "llamafactory" or _llamafactory()]
    for number in range(rounds):
        for checkpointing in (False, True):
            for name in peers:
                result = _peer(name, directory, checkpointing)
                found.setdefault((name, checkpointing), []).append(result)
                kind = "with" if checkpointing else "without"
                print(
                    f"round {number + 1} of {rounds}: {name} {kind} checkpointing, {result['cpu']:.3f} s a step",
                    flush=True,
                )
    print(
        f"{'trainer':14}{'checkpointing':>14}{'cpu s/step':>12}{'tokens/s':>10}{'tokens/cpu s':>14}{'loss':>9}"
    )
    figures, rates = {}, {}
    for (name, checkpointing), results in found.items():
        cpu = figures[name, checkpointing] = statistics.median(result["cpu"] for result in results)
        rate, per_cpu = (
            statistics.median(result[key] for result in results)
            for key in ("tokens_per_second", "tokens_per_cpu_second")
        )
        rates[name, checkpointing] = per_cpu
        kind = "with" if checkpointing else "without"
        print(f"{name:14}{kind:>14}{cpu:12.3f}{rate:10.0f}{per_cpu:14.0f}{results[0]['loss']:9.4f}")
    for checkpointing in (False, True):
        best = min(figures[name, checkpointing] for name in peers if name not in OURS)
        kind = "with" if checkpointing else "without"
        gain = rates["packed", checkpointing] / rates["ours", checkpointing]
        ratio = figures["ours", checkpointing] / best
        print(
            f"ours / fastest other, {kind} checkpointing: {ratio:.2f} of its time; packing: {gain:.2f} × the tokens"
        )


@cache
def _llamafactory() -> str:
    """The path of llamafactory-cli, installed if need be; "" if it cannot be had, and then it is said why."""
    named = os.environ.get("LLAMAFACTORY", "")
    if named:
        return named if named != "no" else ""
    home = ROOT / "var" / "bench" / "llamafactory"
    command = home / "bin" / "llamafactory-cli"
    if not command.exists():
        print(
            "installing LLaMA-Factory into an environment of its own, which takes some minutes …", flush=True
        )
        venv.create(home, with_pip=True)
        install = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "llamafactory"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            print(f"LLaMA-Factory is not measured, it could not be installed: {reason}", flush=True)
            return ""
    os.environ["LLAMAFACTORY"] = str(command)
    return str(command)


def _peer(name: str, directory: Path, checkpointing: bool) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "bench.peers",
        name,
        str(directory),
        *(["checkpointing"] if checkpointing else []),
    ]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(process.stderr[-3000:])
    return json.loads(process.stdout.splitlines()[-1])


def _conversation(number: int) -> dict[str, Any]:
    """A row of about 100 words, longer and shorter ones among them."""
    words = " ".join(f"word{(number * 7 + index * 3) % 50}" for index in range(20 + (number * 37) % 60))
    return {
        "messages": [{"role": "user", "content": f"Repeat: {words}"}, {"role": "assistant", "content": words}]
    }


if __name__ == "__main__":
    main()
