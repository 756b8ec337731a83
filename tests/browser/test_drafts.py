"""Nothing that was typed is lost: the tab closed, the session ended, the page left and come back to."""

from __future__ import annotations

import re

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Page, expect

from catalog.loading import load_data_files
from catalog.models import BaseModel, WeightsKind
from console.models import User
from jobs.models import Draft
from tests.processes import wait_for


@pytest.fixture
def catalogue(db) -> None:
    load_data_files()
    BaseModel.objects.filter(name="ERNIE-Speed-8K").update(
        weights_kind=WeightsKind.DIRECTORY, weights_location="/nowhere/ernie"
    )


@pytest.fixture
def page(open_page, alice: User, catalogue) -> Page:
    page = open_page(alice)
    page.goto("/sft/new/")
    return page


def fill(page: Page) -> None:
    """A name, LoRA and one of its values."""
    page.locator("#id_name").fill("half a bot")
    page.locator("#id_method_LoRA").check()
    expect(page.locator("#id_hp-loraRank")).to_be_visible()
    page.locator("#id_hp-epoch").fill("7")


def expect_filled(page: Page) -> None:
    expect(page.locator("#id_name")).to_have_value("half a bot")
    expect(page.locator("#id_method_LoRA")).to_be_checked()
    expect(page.locator("#id_hp-loraRank")).to_be_visible()
    expect(page.locator("#id_hp-epoch")).to_have_value("7")


def test_a_closed_tab_costs_nothing(page):
    fill(page)
    expect(page.locator("#draft-state")).to_contain_text("Draft saved")
    again = page.context.new_page()
    page.close()
    again.goto("/sft/")
    again.get_by_role("link", name="Continue the draft").click()
    expect_filled(again)
    expect(again.get_by_text("Your draft was restored.")).to_be_visible()
    again.get_by_role("button", name="Discard the draft").click()
    again.get_by_role("dialog").get_by_role("button", name="Discard the draft").click()
    expect(again.locator("#id_name")).to_have_value("")
    assert not Draft.objects.exists()


def test_two_tabs_do_not_write_over_each_other(page):
    page.locator("#id_name").fill("one bot")
    expect(page.locator("#draft-state")).to_contain_text("Draft saved")
    other = page.context.new_page()
    other.goto("/sft/new/")
    expect(other.locator("#id_name")).to_have_value("")
    other.locator("#id_name").fill("another bot")
    expect(other.locator("#draft-state")).to_contain_text("Draft saved")
    other.reload()
    expect(other.locator("#id_name")).to_have_value("another bot")
    page.reload()
    expect(page.locator("#id_name")).to_have_value("one bot")
    copy = page.context.new_page()  # a duplicated tab
    copy.goto(page.url)
    copy.locator("#id_name").fill("a copy")
    wait_for(lambda: Draft.objects.filter(fields__contains={"name": ["a copy"]}).exists(), 10)
    page.reload()
    expect(page.locator("#id_name")).to_have_value("one bot")
    assert Draft.objects.count() == 3


def test_back_brings_what_was_typed_last(page):
    fill(page)
    page.get_by_role("link", name="Datasets").first.click()
    expect(page).to_have_url(re.compile("/datasets/"))
    # Sent as the page was left, so nobody but a test can be back before it arrives.
    wait_for(lambda: Draft.objects.filter(fields__contains={"hp-epoch": ["7"]}).exists(), 10)
    page.go_back()
    expect_filled(page)


def test_a_session_that_ended_keeps_the_page_and_signing_in_elsewhere_goes_on(
    browser, live_server, alice, catalogue
):
    # Not through open_page: the answers 401 are meant to be here.
    context = browser.new_context(base_url=live_server.url, locale="en-US")
    page = context.new_page()
    sign_in(page, "/sft/new/")
    page.locator("#id_name").fill("half a bot")
    expect(page.locator("#draft-state")).to_contain_text("Draft saved")
    Session.objects.all().delete()
    page.locator("#id_hp-epoch").fill("7")
    expect(page.get_by_text("You were signed out.")).to_be_visible()
    expect(page.locator("#id_name")).to_have_value("half a bot")
    page.locator("#start").click()  # asks for nothing and loses nothing
    expect(page.locator("#id_hp-epoch")).to_have_value("7")

    other = context.new_page()
    sign_in(other, "/sft/")
    page.bring_to_front()
    page.locator("#id_hp-epoch").fill("8")
    # What was asked for while signed out happens now: the form is sent, and comes back for want of data.
    expect(page.locator(".form-errors")).to_be_visible()
    expect(page.locator("#id_hp-epoch")).to_have_value("8")
    expect(page.get_by_text("You were signed out.")).to_be_hidden()
    assert Draft.objects.get().fields["hp-epoch"] == ["8"]
    context.close()


def sign_in(page: Page, address: str) -> None:
    page.goto(f"/login/?next={address}")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("password")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"{address}$"))


def test_a_pasted_configuration_fills_in_the_form(page):
    page.locator("#id_name").fill("half a bot")
    page.get_by_text("Paste a configuration").click()
    area = page.get_by_label("Configuration (JSON)")
    area.fill(
        '{"schema": 1, "base_model": "ERNIE-Speed-8K", "method": "LoRA", "hyperparameters": {"epoch": 7}'
    )
    page.get_by_role("button", name="Fill in the form").click()
    expect(page.get_by_text("Line 1, column")).to_be_visible()
    expect(area).to_be_focused()
    area.press("Control+End")
    area.type("}")
    page.get_by_role("button", name="Fill in the form").click()
    expect(page.get_by_text("The configuration was filled in.")).to_be_visible()
    expect_filled(page)
