"""The whole wizard without a mouse, in both languages: from the address to a run that waits."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from catalog.loading import load_data_files
from catalog.models import BaseModel, WeightsKind
from console.models import User, Workspace
from datasets.models import Dataset, DatasetVersion, VersionState
from jobs.models import Run

# More stops than the page has: a walk that does not arrive is caught in a circle.
MOST_STOPS = 120


@pytest.fixture
def ready(db, workspace: Workspace) -> DatasetVersion:
    """A bound model of the whole catalogue, and data for it."""
    load_data_files()
    BaseModel.objects.filter(name="ERNIE-Speed-8K").update(
        weights_kind=WeightsKind.DIRECTORY, weights_location="/nowhere/ernie"
    )
    dataset = Dataset.objects.create(workspace=workspace, name="chats")
    return DatasetVersion.objects.create(
        dataset=dataset, number=1, state=VersionState.PUBLISHED, row_count=400, character_count=8000
    )


def tab_to(page: Page, selector: str) -> list[str]:
    """Presses Tab until the focus is on `selector`; every stop must be seen. Returns the stops' names."""
    stops = []
    for _stop in range(MOST_STOPS):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            """() => {
              const element = document.activeElement, box = element.getBoundingClientRect();
              const seen = box.width > 0 && box.height > 0 && !element.closest("[aria-hidden=true]");
              return { seen, name: element.id || element.name || element.textContent.trim() };
            }"""
        )
        assert focus["seen"], f"the focus is on something hidden: {focus['name']}"
        stops.append(focus["name"])
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return stops
    raise AssertionError(f"{selector} was not reached: {stops}")


@pytest.mark.parametrize(
    ("language", "heading"), [("en", "Create training job"), ("zh-hans", "创建训练作业")]
)
def test_from_the_address_to_a_run(open_page, alice: User, ready: DatasetVersion, language, heading):
    User.objects.filter(pk=alice.pk).update(language=language)
    page = open_page(alice, language="zh-CN" if language == "zh-hans" else "en-US")
    page.goto("/sft/new/")
    expect(page.get_by_role("heading", name=heading, level=1)).to_be_visible()

    page.keyboard.press("Tab")
    expect(page.locator(".skip-link")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "#id_name")
    page.keyboard.type("by keyboard")
    tab_to(page, "[name=type]:checked")
    tab_to(page, "#id_description")
    page.keyboard.type("no mouse")
    tab_to(page, "#id_family")
    tab_to(page, "[name=base_model]:checked")
    tab_to(page, "[name=method]:checked")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#id_hp-loraRank")).to_be_visible()
    expect(page.locator("#id_method_LoRA")).to_be_focused()
    tab_to(page, "#id_hp-epoch")
    page.keyboard.press("Control+a")
    page.keyboard.type("2")
    tab_to(page, f"[name=source][value={ready.uid}]")
    page.keyboard.press("Space")
    expect(page.locator("#data-rule")).to_contain_text(re.compile("400"))
    tab_to(page, "[name=auto_publish]")
    tab_to(page, "#start")
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile("/sft/runs/task-"), timeout=15_000)
    run = Run.objects.get()
    assert (run.job.name, run.method, run.hyperparameters["epoch"]) == ("by keyboard", "LoRA", 2)
