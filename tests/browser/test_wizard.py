"""The create-job page under a person's hands: swaps keep the focus and what was typed, totals follow the typing,
and without JavaScript the page still leads to a run."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from catalog.loading import load_data_files
from catalog.models import BaseModel, WeightsKind
from console.models import User, Workspace
from datasets.models import Dataset, DatasetVersion, VersionState
from jobs.models import Run


@pytest.fixture
def catalogue(db) -> None:
    """The whole catalogue, one version of it bound to weights."""
    load_data_files()
    BaseModel.objects.filter(name="ERNIE-Speed-8K").update(
        weights_kind=WeightsKind.DIRECTORY, weights_location="/nowhere/ernie"
    )


@pytest.fixture
def version(workspace: Workspace) -> DatasetVersion:
    """40 published rows: too few, unless they are taken several times."""
    dataset = Dataset.objects.create(workspace=workspace, name="chats")
    return DatasetVersion.objects.create(
        dataset=dataset, number=1, state=VersionState.PUBLISHED, row_count=40, character_count=800
    )


@pytest.fixture
def page(open_page, alice: User, catalogue) -> Page:
    page = open_page(alice)
    page.goto("/sft/new/")
    return page


def field(page: Page, key: str):
    return page.locator(f"#id_hp-{key}")


def test_the_keyboard_walks_through_methods_and_keeps_its_place(page):
    page.locator("#id_name").fill("first job")
    field(page, "epoch").fill("7")
    page.locator("#id_method_FullFineTuning").focus()
    page.keyboard.press("ArrowDown")
    expect(field(page, "loraRank")).to_be_visible()
    expect(page.locator("#id_method_LoRA")).to_be_focused()
    expect(field(page, "epoch")).to_have_value("7")
    expect(page.locator("#id_name")).to_have_value("first job")
    expect(page.locator("#announcement")).to_contain_text("ERNIE-Speed-8K, LoRA: ")


def test_conditional_fields_come_and_go_and_remember(page):
    field(page, "schedulerName").select_option("cosine")
    field(page, "numCycles").fill("0.3")
    field(page, "schedulerName").select_option("linear")
    expect(field(page, "numCycles")).to_have_count(0)
    field(page, "schedulerName").select_option("cosine")
    expect(field(page, "numCycles")).to_have_value("0.3")
    field(page, "earlyStopping").focus()
    page.keyboard.press("Space")
    expect(field(page, "earlyStoppingPatience")).to_be_visible()
    expect(field(page, "earlyStopping")).to_be_focused()


def test_what_is_worked_on_stays_in_its_place(page, version):
    """The browser's scroll anchoring once moved the page by half a window for each of these."""
    page.reload()

    def place(locator):
        return locator.evaluate("element => Math.round(element.getBoundingClientRect().top)")

    for control, key, appears in (
        (field(page, "earlyStopping"), "Space", field(page, "earlyStoppingPatience")),
        (field(page, "schedulerName"), "ArrowDown", field(page, "numCycles")),
        # The table over it, with the shares, grows by a line.
        (page.get_by_role("checkbox", name="chats V1"), "Space", page.locator("#data-totals table")),
    ):
        control.focus()
        control.evaluate("element => element.scrollIntoView({ block: 'center' })")
        before = place(control)
        page.keyboard.press(key)
        expect(appears).to_be_visible()
        expect(page.locator(".htmx-request, .htmx-swapping, .htmx-settling")).to_have_count(0)
        expect(control).to_be_focused()
        assert place(control) == before


def test_a_rate_shows_with_its_dataset_alone(page, version):
    page.reload()
    rate = page.get_by_label("Sampling rate of chats V1")
    expect(rate).to_be_hidden()
    page.get_by_role("checkbox", name="chats V1").check()
    expect(rate).to_be_visible()


def test_the_fold_stays_as_it_was_left(page):
    expect(field(page, "seed")).to_be_hidden()
    page.get_by_text("Advanced", exact=True).click()
    field(page, "seed").fill("7")
    page.locator("#id_method_LoRA").check()
    expect(field(page, "loraRank")).to_be_visible()
    expect(field(page, "seed")).to_have_value("7")
    expect(field(page, "seed")).to_be_visible()


def test_a_changed_value_can_be_reset_alone_or_with_all_others(page):
    reset = page.locator("#id_hp-epoch_field").get_by_role("button", name="Reset to default")
    expect(reset).to_be_hidden()
    field(page, "epoch").fill("7")
    field(page, "learningRate").fill("0.00003")  # the default, 3e-5, written differently
    expect(page.locator("#id_hp-learningRate_field [data-reset]")).to_be_hidden()
    reset.click()
    expect(field(page, "epoch")).to_have_value("1")
    expect(field(page, "epoch")).to_be_focused()
    field(page, "saveStep").fill("9")
    field(page, "schedulerName").select_option("cosine")
    expect(field(page, "numCycles")).to_be_visible()
    page.get_by_role("button", name="Reset all to their defaults").click()
    expect(field(page, "numCycles")).to_have_count(0)
    expect(field(page, "saveStep")).to_have_value("64")


def test_totals_follow_the_typing(open_page, alice, catalogue, version):
    page = open_page(alice)
    page.goto("/sft/new/")
    page.get_by_role("checkbox", name="chats V1").check()
    expect(page.locator("#data-rule")).to_contain_text("at least 100 are needed")
    rate = page.get_by_label("Sampling rate of chats V1")
    rate.fill("")
    rate.press_sequentially("2.5")
    expect(page.locator("#data-rule")).to_contain_text("100 rows after sampling: enough")
    expect(page.locator("#data-totals")).to_contain_text("100.0 %")
    expect(rate).to_be_focused()
    expect(rate).to_have_value("2.5")
    # On its way the form says so, and a second press sends nothing.
    page.evaluate(
        "document.getElementById('run-form').addEventListener('submit', (event) => event.preventDefault())"
    )
    page.keyboard.press("Control+Enter")
    expect(page.locator("#start")).to_have_attribute("aria-disabled", "true")


def test_ctrl_enter_sends_it_and_errors_are_read_first(browser, live_server, alice, catalogue):
    # Not through open_page: Chromium's console calls the answer 422 an error, which it is meant to be here.
    page = browser.new_context(base_url=live_server.url, locale="en-US").new_page()
    page.goto("/login/?next=/sft/new/")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("password")
    page.keyboard.press("Enter")
    field(page, "epoch").fill("999")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".form-errors")).to_be_focused()
    expect(field(page, "epoch")).to_have_value("999")
    page.locator(".form-errors").get_by_role("link", name="Epochs").click()
    expect(page).to_have_url(re.compile("#id_hp-epoch_field$"))
    page.context.close()


def test_without_javascript_it_leads_to_a_run(open_page, alice, catalogue, version):
    page = open_page(alice, java_script_enabled=False)
    page.goto("/sft/new/")
    page.locator("#id_name").fill("plain")
    page.locator("#id_method_LoRA").check()
    page.locator("button[name=update]").click()
    expect(field(page, "loraRank")).to_be_visible()
    expect(page.locator("#id_name")).to_have_value("plain")
    page.get_by_role("checkbox", name="chats V1").check()
    page.get_by_label("Sampling rate of chats V1").fill("3")
    page.locator("#id_hp-epoch").press("Enter")
    expect(page).to_have_url(re.compile("/sft/runs/task-"))
    assert Run.objects.get().method == "LoRA"


def test_nothing_overflows_on_a_phone(open_page, alice, catalogue, version):
    page = open_page(alice, width=390)
    page.goto(f"/sft/new/?source={version.uid}")
    expect(page.locator("#data-totals table")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
