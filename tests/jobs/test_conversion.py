"""Weights bound in an original layout are converted once, by a process of the trainer's interpreter."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from jobs import weights
from jobs.weights import WeightsUnavailable, local_weights


@pytest.fixture
def bound(base_model, tmp_path, settings):
    settings.WEIGHTS_DIR = tmp_path / "weights"
    source = tmp_path / "chatglm2-6b-32k"
    source.mkdir()
    (source / "config.json").write_text(json.dumps({"model_type": "chatglm"}))
    base_model.weights_location = str(source)
    return base_model


def test_conversion_runs_once_and_again_when_the_files_change(bound, monkeypatch):
    calls = []

    def run(command, **options):
        calls.append(command)
        Path(command[4]).mkdir()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(weights.subprocess, "run", run)
    first = local_weights(bound)
    assert first == local_weights(bound) and first.parent.name == "converted"
    assert calls[0][-2:] == ["--variant", "chatglm2-32k"] and len(calls) == 1
    (Path(bound.weights_location) / "model.safetensors").write_bytes(b"more")
    assert local_weights(bound) != first and len(calls) == 2


def test_weights_that_cannot_be_converted_say_why(bound):
    with pytest.raises(WeightsUnavailable) as refused:
        local_weights(bound)
    assert refused.value.code == "conversion_failed"
    assert "its config.json lacks 'num_attention_heads'" in refused.value.message
