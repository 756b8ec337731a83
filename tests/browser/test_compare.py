"""Runs are ticked in a table that refreshes itself, and lie side by side with their curves."""

from __future__ import annotations

import re

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from catalog.models import BaseModel, ModelFamily
from console.models import User, Workspace
from jobs.models import Job, Metric, Run, RunState


@pytest.fixture
def job(alice: User, workspace: Workspace) -> Job:
    """Two runs that differ in their epochs; the second is still running."""
    family = ModelFamily.objects.create(key="toy", name="Toy", model_type="text2text")
    base_model = BaseModel.objects.create(family=family, name="Toy-8K")
    job = Job.objects.create(workspace=workspace, name="bot", model_type="text2text", created_by=alice)
    for version, state in ((1, RunState.DONE), (2, RunState.RUNNING)):
        run = Run.objects.create(
            job=job,
            version=version,
            base_model=base_model,
            method="LoRA",
            state=state,
            hyperparameters={"epoch": version, "learningRate": 3e-4},
            started_at=timezone.now(),
        )
        for step in (1, 2, 3):
            Metric.objects.create(run=run, key="loss", step=step, value=3 / step / version)
    return job


def test_ticks_outlive_the_refresh_and_lead_to_the_comparison(open_page, alice, job):
    page = open_page(alice)
    page.goto(f"/sft/{job.uid}/")
    page.get_by_label("Compare V1").check()
    with page.expect_response(lambda response: response.request.headers.get("hx-request") == "true"):
        pass  # the table asks for itself every four seconds
    page.get_by_label("Compare V2").check()
    expect(page.get_by_label("Compare V1")).to_be_checked()
    page.get_by_role("button", name="Compare the ticked runs").click()

    expect(page).to_have_url(re.compile("/sft/compare/"))
    expect(page.locator("tr.differs")).to_have_count(1)
    expect(page.locator("[data-chart-summary]").first).to_contain_text(re.compile("bot V1.*bot V2"))
    page.get_by_role("link", name="Only differences").click()
    expect(page.get_by_text("learningRate")).to_have_count(0)
    expect(page.get_by_text("epoch", exact=True)).to_be_visible()
