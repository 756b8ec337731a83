"""Every code that trainer and worker store has a text, and the text needs no parameter that is not stored."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs import messages

ROOT = Path(messages.__file__).parent
# The call that stores a code, and the position of the code among its arguments.
CALLS = {
    "TrainingFailure": (0, messages.FAILURES),
    "WeightsUnavailable": (0, messages.FAILURES),
    "DataUnavailable": (0, messages.FAILURES),
    "NotPublishable": (0, messages.PUBLICATION_NOTES),
    "warn": (0, messages.WARNINGS),
    "note": (1, messages.TIMELINE),
    "release": (1, messages.TIMELINE),
}
# Their texts are those of the code beside them.
COMPOSED = {"warning", "publish_skipped", "publish_delayed"}


def emitted() -> Iterator[tuple[str, str, messages.Texts, set[str]]]:
    """Place, code, texts that must have it, and names of the parameters, of every such call in the code."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            position, texts = CALLS.get(name, (0, {}))
            code = node.args[position] if len(node.args) > position else None
            if texts and isinstance(code, ast.Constant) and code.value not in COMPOSED:
                names = {keyword.arg for keyword in node.keywords if keyword.arg}
                yield f"{path.name}:{node.lineno}", str(code.value), texts, names


EMITTED = list(emitted())


@pytest.mark.parametrize(
    ("code", "texts", "params"),
    [pytest.param(code, texts, params, id=f"{place} {code}") for place, code, texts, params in EMITTED],
)
def test_a_stored_code_has_a_text(code, texts, params):
    assert code in texts
    assert set(re.findall(r"%\((\w+)\)", str(texts[code]))) <= params


def test_the_walk_finds_what_is_known_to_be_stored():
    stored = {code for _place, code, _texts, _params in EMITTED}
    assert {"hub_unreachable", "s3_unreachable", "no_gpu", "name_taken", "rows_split", "preempted"} <= stored


def test_failures_that_the_worker_finds_have_texts():
    source = (ROOT / "follow.py").read_text()
    codes = set(re.findall(r'"code": "(\w+)"|code = "(\w+)" if|else "(\w+)"$', source, re.MULTILINE))
    assert {"trainer_died", "disk_full", "unexpected"} <= {code for group in codes for code in group}
    assert {code for group in codes for code in group if code} <= set(messages.FAILURES)


def test_phases_of_the_trainer_have_texts():
    source = "\n".join(path.read_text() for path in (ROOT / "training").glob("*.py"))
    phases = set(re.findall(r'write\("phase", name="(\w+)"', source))
    assert "training" in phases
    assert phases <= set(messages.PHASES)
