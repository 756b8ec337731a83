"""Makes the pictures of README.md from a running console: `make run` in one terminal, `make screenshots` in another.

Signs in with the demo account, and on an empty console trains a first run on the sample data.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).resolve().parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]


def sign_in(page: Page, password: str) -> None:
    page.goto("/login/")
    page.fill("[name=username]", "demo")
    page.fill("[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url("**/sft/")


def train_first_run(page: Page) -> None:
    """From the sample data to a finished run, as the README's tour describes it."""
    page.goto("/datasets/")
    page.locator("form[action$='/sample/'] button").first.click()
    page.locator("[data-dialog=publish-dialog]").wait_for(timeout=60_000)
    page.locator("[data-dialog=publish-dialog]").click()
    page.locator("#publish-dialog form button.btn-primary").click()
    page.wait_for_load_state("networkidle")
    page.goto("/sft/new/")
    page.fill("[name=name]", "客服助手")
    page.locator("[name=method][value=LoRA]").check()
    page.wait_for_load_state("networkidle")
    page.fill("[name=hp-epoch]", "5")
    page.locator("[name=source]").first.check()
    page.locator("[name=auto_publish]").check()
    page.locator("[name=model_name]").fill("assistant-zh")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(re.compile("/sft/runs/"))
    page.locator("#run-badge .badge.is-done, #run-badge [data-state=Done]").or_(
        page.locator("#run-badge").filter(has_text=re.compile("Done|已完成"))
    ).first.wait_for(timeout=300_000)


def open_run(page: Page) -> None:
    page.goto("/sft/")
    page.locator("a[href*='/sft/runs/']").first.click()
    page.locator("canvas").first.wait_for()


OPENERS: dict[str, Callable[[Page], object]] = {
    "wizard": lambda page: page.goto("/sft/new/"),
    "base-models": lambda page: page.goto("/base-models/"),
    "run": open_run,
}


def shoot(
    browser: Browser,
    base_url: str,
    password: str,
    theme: Literal["light", "dark"],
    language: str,
    names: tuple[str, ...],
) -> None:
    """The named pages in one theme and language."""
    context = browser.new_context(
        base_url=base_url, viewport={"width": 1440, "height": 900}, color_scheme=theme, locale=language
    )
    page = context.new_page()
    sign_in(page, password)
    if page.locator("table tbody tr").count() == 0:
        train_first_run(page)
    for name in names:
        OPENERS[name](page)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(1000)  # the curves draw themselves in
        page.screenshot(path=DOCS / "img" / f"{name}-{language}-{theme}.png")
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--var", type=Path, default=DOCS.parent / "var")
    options = parser.parse_args()
    password = (options.var / "demo-password").read_text()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    (DOCS / "img").mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        shoot(browser, options.url, password, "light", "zh-CN", ("wizard", "base-models"))
        shoot(browser, options.url, password, "dark", "en-US", ("run",))
        browser.close()


if __name__ == "__main__":
    main()
