"""The log's lines say which run they are about, to people and to programs."""

import json
import logging
import threading

from console.logs import JsonLines, OfRun, about_run


def written(message: str, error: bool = False) -> dict:
    """A line as JSON, as the handler of settings.LOGGING makes it."""
    record = logging.LogRecord("jobs.follow", logging.WARNING, __file__, 1, message, ("这",), None)
    if error:
        record.exc_info = (ValueError, ValueError("no number"), None)
    OfRun().filter(record)
    return json.loads(JsonLines().format(record))


def test_a_line_is_one_object_with_the_run_that_it_is_about():
    with about_run("task-1"):
        said = written("%s is\nlost")
    assert (said["run"], said["level"], said["logger"], said["message"]) == (
        "task-1",
        "WARNING",
        "jobs.follow",
        "这 is\nlost",
    )
    assert said["time"].endswith("+00:00")
    assert "run" not in written("%s")


def test_an_error_brings_its_traceback():
    assert "ValueError: no number" in written("%s", error=True)["error"]


def test_runs_that_are_followed_at_the_same_time_are_told_apart():
    found = []
    with about_run("task-1"):
        other = threading.Thread(target=lambda: found.append(written("%s").get("run")))
        other.start()
        other.join()
        found.append(written("%s")["run"])
    assert found == [None, "task-1"]
