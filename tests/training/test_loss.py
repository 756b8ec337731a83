"""The loss that runs use on a CPU is TRL's own, experts' balance and packed rows included."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import forks

pytestmark = pytest.mark.training


def test_loss_and_gradients_equal_trls(models):
    process = forks.run(Path(__file__).with_name("compare_losses.py").read_text(), models)
    assert process.returncode == 0, process.stderr[-2000:]
    differences = json.loads(process.stdout.splitlines()[-1])
    assert len(differences) == 9
    assert {name: value for name, value in differences.items() if value > 1e-5} == {}
