"""The loss that runs use on a CPU is TRL's own, experts' balance and packed rows included."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.runs import ENVIRONMENT, PRELUDE, ROOT

pytestmark = pytest.mark.training


def test_loss_and_gradients_equal_trls(models):
    script = PRELUDE + f"import runpy; sys.argv[1:] = [{str(models)!r}]; "
    script += f"runpy.run_path({str(Path(__file__).with_name('compare_losses.py'))!r}, run_name='__main__')"
    environment = {**ENVIRONMENT, "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    differences = json.loads(process.stdout.splitlines()[-1])
    assert len(differences) == 9
    assert {name: value for name, value in differences.items() if value > 1e-5} == {}
