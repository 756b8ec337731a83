"""The page to try models out, in Chromium: what the script makes of the answers (which the test makes up)."""

from __future__ import annotations

import json

from tests.browser.test_accessibility import console, violations  # noqa: F401  (a fixture)

# Loses no line where the log has less room than the answers need.
CUT = "[...document.querySelectorAll('.try-log p')].filter((item) => item.scrollHeight > item.clientHeight + 1).length"


def events(*said: dict) -> str:
    return "".join(f"data: {json.dumps(one)}\n\n" for one in said)


def test_answers_are_shown_whole_and_refusals_as_such(open_page, alice, console):  # noqa: F811
    page = open_page(alice, width=390)
    page.goto("/base-models/ERNIE-Speed-8K/chat/")
    done = {"type": "done", "finish_reason": "stop", "completion_tokens": 7}
    answers = [
        events({"type": "delta", "text": "many words\n" * 30}, done),
        events({"type": "delta", "text": "Good "}, {"type": "delta", "text": "day"}, done),
        events({"type": "refused", "text": "Busy."}),
    ]
    page.route(
        "**/answer/", lambda route: route.fulfill(body=answers.pop(0), content_type="text/event-stream")
    )
    for number, text in enumerate(("first", "second", "third"), 1):
        page.get_by_label("Message").fill(text)
        page.get_by_label("Message").press("Enter")
        page.locator(f".try-log .is-assistant >> nth={number - 1}").wait_for()
        page.locator("[data-stop]:disabled").wait_for()
    replies = page.locator(".try-log .is-assistant").all_inner_texts()
    assert replies[1:] == ["Good day", "Busy."]
    assert page.get_by_label("Message").input_value() == "third", "what was refused can be sent again"
    assert page.evaluate(CUT) == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not violations(page)
