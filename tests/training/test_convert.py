"""Weights of ChatGLM and Baichuan2: converted models compute what the original ones do."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from jobs.training.original import kind_of, variant_of
from tests import forks

pytestmark = pytest.mark.training
NAMES = ("chatglm2", "chatglm2-32k", "chatglm3-32k", "baichuan2-7b", "baichuan2-13b")


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("originals")


@pytest.fixture(scope="session")
def found(root) -> dict:
    """What original_models.py prints."""
    process = forks.run(Path(__file__).with_name("original_models.py").read_text(), root)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", NAMES)
def test_converted_model_computes_what_the_original_does(found, name):
    assert found[name]["sdpa"] <= 1e-5 and found[name]["eager"] <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_converted_tokenizer_gives_the_tokens_of_sentencepiece(found, name):
    assert found[name]["texts"] == found[name]["pieces"]


def test_alibi_holds_with_padding_packing_and_a_cache(found):
    alibi = found["baichuan2-13b"]
    differences = {way: alibi[way] for way in ("padded", "packed", "cached")}
    assert max(differences.values()) <= 1e-5, differences


def test_chat_template_is_that_of_the_family(found):
    assert found["chatglm2"]["chat"] == "[gMASK]sop[Round 1]\n\n问:the fox\n\n答:the dog</s>"
    assert found["chatglm3-32k"]["chat"] == "[gMASK]sop<|user|>\n the fox<|assistant|>\n the dog</s>"


def convert(source: Path, target: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = "import runpy; runpy.run_module('jobs.training.convert', run_name='__main__', alter_sys=True)"
    return forks.run(command, source, target, *options)


def test_pickled_weights_are_refused_and_nothing_is_left(tmp_path, found, root):
    source = tmp_path / "chatglm2-6b"
    source.mkdir()
    (source / "config.json").write_bytes((root / "chatglm2/source/config.json").read_bytes())
    (source / "pytorch_model-00001-of-00001.bin").write_bytes(b"anything")
    result = convert(source, tmp_path / "target")
    assert result.returncode == 1 and "--allow-pickle" in result.stderr.splitlines()[-1]
    assert not (tmp_path / "target").exists()


def test_converted_directory_is_no_original_any_more(found, root):
    assert kind_of(root / "baichuan2-7b/source") == "baichuan"
    assert kind_of(root / "chatglm2/source") == "chatglm"
    assert not any(kind_of(root / name / "converted") for name in NAMES)


def test_baichuan_13b_loads_elsewhere_with_the_class_beside_it(found, root):
    code = (
        "from transformers import AutoModelForCausalLM\n"
        "import baichuan\n"  # the file in the directory
        "print(type(AutoModelForCausalLM.from_pretrained('.')).__name__)"
    )
    result = forks.run(code, cwd=root / "baichuan2-13b/converted", inside=False)
    assert result.stdout.strip() == "BaichuanAlibiForCausalLM", result.stderr


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("ChatGLM2-6B THUDM/chatglm2-6b", "chatglm2"),
        ("ChatGLM2-6B-32K /weights/glm", "chatglm2-32k"),
        ("THUDM/chatglm3-6b-32k", "chatglm3-32k"),
        ("Baichuan2-7B-Chat", ""),
    ],
)
def test_name_tells_which_chatglm_it_is(name, variant):
    assert variant_of(name) == variant
