"""The product's main job, as a newcomer does it: sample data, a job, training to the end, the model."""

from __future__ import annotations

import re

import psutil
import pytest
from playwright.sync_api import expect

from catalog.models import BaseModel, WeightsKind
from console.models import User
from jobs.models import Run, RunState
from tests.processes import Worker
from tests.tiny_models import make_tiny


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("weights") / "ernie", "ernie4_5")


@pytest.fixture
def worker(tmp_path):
    """One worker for imports and training; it and its trainers end with the test."""
    process = Worker(tmp_path / "worker.log", "default,training", TRAINER_PYTHON="")  # the real command
    yield process
    process.stop()
    for found in psutil.process_iter(["cmdline"]):
        if str(tmp_path) in " ".join(found.info["cmdline"] or []):
            found.kill()


@pytest.fixture
def catalogue(db, weights):
    """The whole catalogue, with a tiny model behind one row."""
    from django.core.management import call_command

    call_command("load_catalog", verbosity=0)
    BaseModel.objects.filter(name="ERNIE-Speed-8K").update(
        weights_kind=WeightsKind.DIRECTORY, weights_location=str(weights)
    )


@pytest.mark.services
@pytest.mark.training
def test_from_sample_data_to_a_published_model(open_page, alice: User, catalogue, worker):
    page = open_page(alice)
    page.goto("/datasets/")
    page.get_by_role("button", name="Use the sample data").first.click()
    page.get_by_role("button", name="Publish").first.click(timeout=30_000)
    page.get_by_role("dialog").get_by_role("button", name="Publish").click()
    expect(page.get_by_text("Published").first).to_be_visible()

    page.get_by_role("link", name="Train with it").click()
    page.get_by_label("Job name").fill("first steps")
    page.get_by_label("Base model", exact=False).first.select_option(label="ERNIE Speed")
    page.get_by_role("radio", name=re.compile("LoRA")).check()
    expect(page.locator("#id_hp-loraRank")).to_be_visible()
    page.get_by_role("checkbox", name=re.compile("V1")).check()
    page.get_by_label("Publish automatically").check()
    page.get_by_label("Model name").fill("first-model")
    page.get_by_role("button", name="Start training").click()

    expect(page).to_have_url(re.compile("/sft/runs/task-"))
    expect(page.locator("h1 ~ .badge, .page-header .badge").filter(has_text="Done")).to_be_visible(
        timeout=120_000
    )
    run = Run.objects.get()
    assert run.state == RunState.DONE
    expect(page.locator("canvas").first).to_be_visible()

    page.goto("/models/")
    page.get_by_role("link", name="first-model").click()
    expect(page.get_by_text("V1").first).to_be_visible()
    expect(page.get_by_text("Ready").first).to_be_visible(timeout=20_000)
