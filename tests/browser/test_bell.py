"""The bell follows what happens without a reload, takes nobody's focus away, and rests while nobody looks."""

from __future__ import annotations

from playwright.sync_api import expect

from console.models import Receipt
from console.notifications.recording import record

HIDE = "(hidden) => Object.defineProperty(document, 'hidden', { configurable: true, value: hidden })"


def test_the_bell(open_page, alice, workspace):
    page = open_page(alice)
    page.goto("/preferences/")
    bell = page.get_by_role("link", name="Notifications")
    expect(bell).to_have_accessible_name("Notifications")
    bell.focus()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    data = {"uid": "task-1", "run": "bot V1", "base_model": "Toy", "steps": 3}
    record("run.done", workspace.pk, "task-1", data, alice.pk)
    page.evaluate(HIDE, True)
    page.evaluate("document.getElementById('bell').dispatchEvent(new Event('look'))")
    assert not asked
    page.evaluate(HIDE, False)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(bell).to_have_accessible_name("Notifications: 1 unread")
    expect(bell).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Mark “bot V1 is done” as read").click()
    expect(bell).to_have_accessible_name("Notifications")
    assert Receipt.objects.get().read_at
