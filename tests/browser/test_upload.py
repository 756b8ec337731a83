"""Files sent by the page's script: in pieces, over a broken line, over a reload, dropped, refused, called off."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from console.models import User, Workspace
from datasets.models import Dataset, DatasetVersion, Upload, VersionState
from tests.processes import wait_for

ROW = b'{"prompt": "p", "response": "r"}\n'


@pytest.fixture
def version(workspace: Workspace) -> DatasetVersion:
    dataset = Dataset.objects.create(workspace=workspace, name="Greetings")
    return DatasetVersion.objects.create(dataset=dataset, number=1)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of three pieces: the first one has 1 MB."""
    path = tmp_path / "large.jsonl"
    path.write_bytes(ROW * 80_000)
    return path


@pytest.fixture
def page(open_page, alice: User, version: DatasetVersion) -> Page:
    page = open_page(alice)
    page.goto(f"/datasets/versions/{version.uid}/")
    return page


def is_there(version: DatasetVersion, *sizes: int) -> bool:
    version.refresh_from_db()
    found = sorted(version.files.values_list("size", flat=True))
    return version.state == VersionState.IMPORTING and found == sorted(sizes)


def until(page: Page, holds: Callable[[], bool]) -> None:
    """Waits while the browser's events are handled."""
    wait_for(lambda: holds() or page.wait_for_timeout(50), 10)


def send(page: Page) -> None:
    page.get_by_role("button", name="Upload and import").click()


def test_a_file_survives_a_broken_line_and_a_reload(page: Page, version, large: Path) -> None:
    size = large.stat().st_size
    breaks: list[Route] = []
    hung: list[Route] = []

    def break_off(route: Route) -> None:
        # The first piece passes; the line breaks under the second one, and later nothing moves any more.
        breaks.append(route)
        if len(breaks) == 2:
            route.abort("connectionreset")
        elif len(breaks) == 3:
            hung.append(route)
        else:
            route.continue_()

    page.route(re.compile(r"offset="), break_off)
    page.locator("#id_files").set_input_files(large)
    expect(page.locator("[data-upload-files] li")).to_have_text(re.compile("large.jsonl"))
    send(page)
    expect(page.locator("[data-upload-state]")).to_have_text(re.compile("Trying again in"))
    until(page, lambda: bool(hung))
    assert Upload.objects.get().received == 1024**2
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(page.locator("#unfinished")).to_contain_text("large.jsonl")

    page.locator("#id_files").set_input_files(large)
    with page.expect_request(re.compile("offset=")) as first:
        send(page)
    assert "offset=1048576" in first.value.url
    until(page, lambda: is_there(version, size))
    expect(page.locator("#cancel-import")).to_be_visible()


def test_an_upload_is_paused_gone_on_with_and_called_off(page: Page, version, large: Path) -> None:
    hung: list[Route] = []
    page.route(re.compile(r"offset=\d\d"), lambda route: hung.append(route))
    page.locator("#id_files").set_input_files(large)
    send(page)
    until(page, lambda: bool(hung))
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-upload-status]")).to_have_text(re.compile("Paused"))
    page.get_by_role("button", name="Continue").click()
    until(page, lambda: len(hung) == 2)
    page.get_by_role("button", name="Cancel and discard").click()
    expect(page.locator("[data-upload-progress]")).to_be_hidden()
    assert not Upload.objects.exists()


DROP = """(names) => {
    const transfer = new DataTransfer();
    for (const name of names) transfer.items.add(new File(['{"prompt": "p", "response": "r"}'], name));
    const over = new DragEvent("dragover", {bubbles: true, cancelable: true, dataTransfer: transfer});
    document.querySelector("h1").dispatchEvent(over);
    const shown = !document.querySelector("[data-drop-target]").hidden;
    const drop = new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: transfer});
    document.querySelector("h1").dispatchEvent(drop);
    return shown;
}"""


def test_files_dropped_on_the_page_of_a_new_dataset(open_page, alice: User) -> None:
    page = open_page(alice)
    page.goto("/datasets/new/")
    assert page.evaluate(DROP, ["a.jsonl", "b.jsonl", "c.exe"])
    page.get_by_role("button", name="Create").click()
    # Without a name the form comes back, and the files are still chosen.
    expect(page.locator("#id_name_field .field-error")).to_be_visible()
    expect(page.locator("[data-upload-files] li")).to_have_count(3)
    page.locator("#id_name").fill("Dropped")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("[data-upload-files] [data-error]:visible")).to_have_text(
        re.compile("no accepted kind")
    )
    page.get_by_role("button", name="Remove c.exe").click()
    page.get_by_role("button", name="Create").click()
    page.wait_for_url(re.compile("/datasets/versions/"))
    wait_for(lambda: is_there(Dataset.objects.get(name="Dropped").versions.get(), 32, 32), 10)
    assert Dataset.objects.count() == 1
