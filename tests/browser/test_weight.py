"""What the first load of the wizard costs: bytes on the wire and requests, from the server as it is deployed.

gunicorn with the production settings answers, with static files collected and compressed by WhiteNoise, and the
browser (empty cache) says how many bytes it received for each request, headers included.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Browser, Request

from catalog.loading import load_data_files
from console.models import User
from tests.processes import ROOT, environment, wait_for

MAX_BYTES = 150_000
MAX_REQUESTS = 8


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310  (our own server)
            return True
    except (urllib.error.URLError, OSError):
        return False


@pytest.fixture
def server(db, tmp_path: Path) -> Iterator[str]:
    """The address of a deployed console on the test's database."""
    env = environment(VAR_DIR=str(tmp_path / "var"), DEBUG="0")
    collect = [sys.executable, "manage.py", "collectstatic", "--noinput", "-v", "0"]
    subprocess.run(collect, cwd=ROOT, env=env, check=True)
    address = f"127.0.0.1:{free_port()}"
    with (tmp_path / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "console.wsgi", "--bind", address, "--threads", "4"],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(lambda: answers(f"http://{address}/healthz"))
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.services
def test_the_first_load_is_light_and_stays_on_the_machine(browser: Browser, server: str, alice: User):
    load_data_files()
    client = Client()
    client.force_login(alice)
    context = browser.new_context()
    session = client.cookies["sessionid"].value
    context.add_cookies([{"name": "sessionid", "value": session, "url": server}])
    page = context.new_page()
    requests: list[Request] = []
    page.on("requestfinished", lambda request: requests.append(request))
    page.goto(f"{server}/sft/new/", wait_until="networkidle")
    assert page.locator("#id_hp-epoch").count() == 1

    loaded = {}
    for request in requests:
        sizes = request.sizes()
        loaded[request.url] = sizes["responseBodySize"] + sizes["responseHeadersSize"]
    context.close()
    table = "\n".join(f"{size:8,d}  {url.removeprefix(server)}" for url, size in loaded.items())
    print(f"{table}\n{sum(loaded.values()):8,d}  in {len(loaded)} requests")
    assert all(url.startswith(server) for url in loaded), table
    assert len(requests) <= MAX_REQUESTS, table
    assert sum(loaded.values()) <= MAX_BYTES, table
