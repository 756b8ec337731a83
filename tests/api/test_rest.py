"""`/api/v1/`: who may call it, in which shape it refuses, and that it goes by the rules of the pages."""

from __future__ import annotations

import json
import re

import pytest
from django.test import Client

from console.models import AuditEntry, Delivery, Scope
from console.notifications.recording import record
from console.rest.api import api
from datasets.models import DatasetVersion
from jobs import portable
from jobs.api.rest_configuration import ConfigurationIn
from jobs.models import Job, Metric, Priority, Run, RunState
from tests.jobs.conftest import base_model, make_run, make_version  # noqa: F401  (fixtures)

pytestmark = [pytest.mark.services, pytest.mark.django_db]


@pytest.fixture
def call(make_key, alice):
    """Returns a function that calls the API with a key: alice's, unless another person is named."""
    keys: dict[tuple[str, str | None], str] = {}

    def go(method: str, path: str, body: object = None, user=alice, scope=None, **headers):
        token = keys.setdefault((user.username, scope), make_key(user, scope).token)
        headers = {"Authorization": f"Bearer {token}", "Accept-Language": "en"} | headers
        data = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(Client(), method)(f"/api/v1/{path}", **data, headers=headers)

    return go


@pytest.fixture
def configuration(base_model, make_version):  # noqa: F811
    return {
        "name": "by program",
        "base_model": "Toy-8K",
        "method": "LoRA",
        "hyperparameters": {"epoch": 2},
        "sources": [{"version": make_version(150).uid, "sampling_rate": 2}],
    }


def fields(response) -> dict[str, str]:
    """Path and message of everything that was refused."""
    return {item["path"]: item["message"] for item in response.json()["error"]["fields"]}


# --- Who may call --------------------------------------------------------------------------------------------


def test_without_a_key_nothing_is_told(client):
    response = client.get("/api/v1/jobs")
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")
    assert response.json()["error"]["code"] == "unauthenticated"


def test_a_revoked_key_is_refused_although_its_owner_is_signed_in(client_of, alice):
    response = client_of(alice).get("/api/v1/jobs", headers={"Authorization": "Bearer sk-gone"})
    assert response.status_code == 401


def test_a_viewer_reads_and_changes_nothing(call, bob, make_run):  # noqa: F811
    run = make_run()
    assert call("get", f"runs/{run.uid}", user=bob).status_code == 200
    response = call("post", f"runs/{run.uid}/stop", user=bob)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")


def test_a_stranger_finds_nothing(call, charlie, make_run):  # noqa: F811
    run = make_run()
    for path in (f"runs/{run.uid}", f"jobs/{run.job.uid}", f"runs/{run.uid}/log"):
        assert call("get", path, user=charlie).status_code == 404
    assert call("get", "jobs", user=charlie).json() == {"items": [], "next": None}


def test_a_stranger_finds_no_data_either(call, charlie, make_version):  # noqa: F811
    """Every address of the description that names a dataset, a version or one of its parts."""
    version, tried = make_version(20), 0
    before = DatasetVersion.objects.values().get()
    for path, methods in api.get_openapi_schema()["paths"].items():
        if found := re.match(r"/api/v1/((datasets|dataset-versions)/\{\w+\}.*)", path):
            uid = version.uid if found[2] == "dataset-versions" else version.dataset.uid
            address = re.sub(r"\{\w+\}", uid, found[1].replace("{number}", "1"))
            for method in methods:
                answer = call(method, address, None if method == "get" else {}, user=charlie)
                # What is wrong with the call itself may be said first.
                assert answer.status_code in (404, 422), (method, path)
                tried += 1
    assert tried > 12 and DatasetVersion.objects.values().get() == before


def test_a_key_that_may_not_delete_does_not(call, make_run):  # noqa: F811
    run = make_run(RunState.DONE)
    assert call("delete", f"runs/{run.uid}", scope=Scope.WRITE).status_code == 403
    assert call("delete", f"runs/{run.uid}").status_code == 204
    assert not Run.objects.exists()


def test_the_session_counts_with_a_csrf_token_only(alice, make_run):  # noqa: F811
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    run = make_run()
    assert client.get("/api/v1/workspace").json()["user"] == "alice"
    assert client.post(f"/api/v1/runs/{run.uid}/stop").status_code == 403
    token = client.get("/api/v1/docs").context["csrf_token"]
    client.cookies["csrftoken"] = str(token)
    done = client.post(f"/api/v1/runs/{run.uid}/stop", headers={"X-CSRFToken": str(token)})
    assert (done.status_code, done.json()["state"]) == (200, "Stopped")


# --- How it refuses ------------------------------------------------------------------------------------------


def test_errors_are_json_whoever_makes_them(call):
    for method, path, status in (("get", "nonsense", 404), ("post", "pools", 405), ("get", "runs/x\0y", 404)):
        response = call(method, path)
        assert (response.status_code, set(response.json())) == (status, {"error"})


def test_errors_speak_the_language_that_is_asked_for(call):
    response = call("get", "jobs?limit=0", **{"Accept-Language": "zh-Hans"})
    assert response.status_code == 422 and list(fields(response)) == ["limit"]
    assert call("get", "runs/none", **{"Accept-Language": "zh-Hans"}).headers["Content-Language"] == "zh-hans"


def test_a_body_is_refused_with_the_place_of_each_mistake(call, configuration):
    configuration["sources"][0]["sampling_rate"] = "much"
    configuration["colour"] = "red"
    found = fields(call("post", "jobs", configuration))
    assert set(found) == {"sources[0].sampling_rate", "colour"}
    broken = Client().post("/api/v1/jobs", data="{", content_type="application/json")
    assert broken.status_code == 401  # the key comes first
    assert call("post", "jobs").status_code in (400, 422)


# --- Jobs and runs -------------------------------------------------------------------------------------------


def test_a_job_is_created_as_the_wizard_would(call, configuration, alice):
    response = call("post", "jobs", configuration)
    assert response.status_code == 201, response.content
    run = Run.objects.get(uid=response.json()["uid"])
    assert (run.job.name, run.hyperparameters["epoch"], run.created_by) == ("by program", 2, alice)
    assert run.sources.get().sampling_rate == 2
    # What it says of itself makes another one.
    again = call("get", f"runs/{run.uid}/configuration").json() | {"name": "once more"}
    assert call("post", "jobs", again).status_code == 201
    second = call("post", f"jobs/{run.job.uid}/runs", again)
    assert (second.status_code, second.json()["version"]) == (201, 2)
    assert call("post", f"runs/{run.uid}/retry").status_code == 409
    Run.objects.filter(pk=run.pk).update(state=RunState.FAILED)
    third = Run.objects.get(uid=call("post", f"runs/{run.uid}/retry").json()["uid"])
    assert (third.version, third.hyperparameters) == (3, run.hyperparameters)


def test_a_configuration_has_the_keys_that_the_wizard_exports():
    described = {field.alias or name for name, field in ConfigurationIn.model_fields.items()}
    assert described == set(portable.KEYS)


def test_what_a_key_does_is_recorded_as_its_doing(call, alice):
    call("post", "datasets", {"name": "chats"})
    entry = AuditEntry.objects.get(object_repr="chats")
    assert entry.actor_name == "alice" and entry.key_name.startswith("test")


def test_what_the_wizard_refuses_is_refused_at_the_same_place(call, configuration, make_version):  # noqa: F811
    configuration["hyperparameters"] = {"epoch": 99, "loraRank": 8}
    configuration["sources"] = [
        {"version": make_version(40).uid, "sampling_rate": 20},
        {"version": "ds-none"},
    ]
    response = call("post", "jobs", configuration)
    assert response.status_code == 422 and not Job.objects.exists()
    found = fields(response)
    assert {"hyperparameters.epoch", "hyperparameters.loraRank", "sources[0].sampling_rate"} <= set(found)
    assert "ds-none" in found["sources"]
    for key, value in (("pool", "nowhere"), ("base_run", "task-none"), ("corpus", "ds-none")):
        asked = {key: value, "incremental": key == "base_run", "with_corpus": key == "corpus"}
        problems = call("post", "configurations/check", configuration | asked).json()["problems"]
        assert key in {item["path"] for item in problems}


def test_a_check_starts_nothing(call, configuration):
    found = call("post", "configurations/check", configuration).json()
    assert found["valid"] and (found["training_rows"], found["test_rows"]) == (240, 30)
    assert found["mix"][0]["share"] == 100.0 and found["estimate"]["amount"] > 0
    small = call("post", "configurations/check", configuration | {"name": "x"}).json()
    assert not small["valid"] and [item["path"] for item in small["problems"]] == ["name"]
    assert not Job.objects.exists()


def test_lists_come_in_pieces(call, workspace):
    for number in range(5):
        Job.objects.create(workspace=workspace, name=f"job {number}", model_type="text2text")
    first = call("get", "jobs?limit=3").json()
    rest = call("get", f"jobs?limit=3&after={first['next']}").json()
    names = [item["name"] for item in first["items"] + rest["items"]]
    assert names == [f"job {number}" for number in (4, 3, 2, 1, 0)] and rest["next"] is None


def test_an_unchanged_answer_is_not_sent_again(call, make_run):  # noqa: F811
    run = make_run(RunState.RUNNING, step=1, total_steps=4)
    first = call("get", f"runs/{run.uid}")
    again = {"If-None-Match": first["ETag"]}
    assert call("get", f"runs/{run.uid}", **again).status_code == 304
    Run.objects.update(step=2)
    assert call("get", f"runs/{run.uid}", **again).json()["percent"] == 50


def test_a_run_reports(call, make_run, settings):  # noqa: F811
    run = make_run(RunState.RUNNING, failure={"code": "disk_full", "params": {}, "message": "?"})
    Metric.objects.create(run=run, key="loss", step=1, value=2.5)
    directory = settings.RUNS_DIR / run.uid
    directory.mkdir(parents=True)
    (directory / "train.log").write_text("first\nsecond\n")
    assert call("get", f"runs/{run.uid}/metrics").json()["series"][0]["points"] == [[1, 2.5]]
    assert call("get", f"runs/{run.uid}/log?after=6").json()["text"] == "second\n"
    assert b"".join(call("get", f"runs/{run.uid}/log/download").streaming_content) == b"first\nsecond\n"
    assert (
        call("get", f"runs/{run.uid}")
        .json()["failure"]["message"]
        .startswith("The disk of the training machine is full")
    )
    assert call("get", f"runs/{run.uid}/checkpoints").json() == {"items": []}


def test_a_run_is_paused_and_resumed(call, make_run):  # noqa: F811
    uid = make_run().uid
    assert call("post", f"runs/{uid}/resume").status_code == 409
    assert call("post", f"runs/{uid}/pause").json()["is_paused"]
    assert call("post", f"runs/{uid}/pause").status_code == 200
    assert call("get", f"runs/{uid}").json()["place"] is None
    assert not call("post", f"runs/{uid}/resume").json()["is_paused"]
    call("post", f"runs/{uid}/stop")
    assert call("post", f"runs/{uid}/pause").status_code == 409


def test_what_happens_to_a_run(call, make_run):  # noqa: F811
    run = make_run()
    assert call("put", f"runs/{run.uid}/priority", {"priority": "high"}).json()["priority"] == "high"
    run.refresh_from_db()
    assert run.priority == Priority.HIGH
    assert call("post", f"runs/{run.uid}/stop").json()["state"] == "Stopped"
    assert call("post", f"runs/{run.uid}/stop").status_code == 200
    assert call("put", f"runs/{run.uid}/priority", {"priority": "low"}).status_code == 409
    kinds = {item["kind"] for item in call("get", f"runs/{run.uid}/timeline").json()["items"]}
    assert kinds == {"priority_high", "stop_requested", "stopped"}
    assert call("post", f"runs/{run.uid}/publish", {"model_name": "bot"}).status_code == 409


# --- Data ----------------------------------------------------------------------------------------------------


def test_a_dataset_from_nothing_to_published(call, make_key, alice):
    made = call("post", "datasets", {"name": "chats"}).json()
    twice = call("post", "datasets", {"name": "chats"})
    assert twice.status_code == 422 and fields(twice)
    lines = "".join(f'{{"prompt": "q{i}", "response": "a{i}"}}\n' for i in range(3)).encode()
    path = f"dataset-versions/{made['version']}"
    from django.core.files.uploadedfile import SimpleUploadedFile

    headers = {"Authorization": f"Bearer {make_key(alice).token}"}
    sent = Client().post(
        f"/api/v1/{path}/files", {"files": [SimpleUploadedFile("a.jsonl", lines)]}, headers=headers
    )
    assert (sent.status_code, sent.json()["state"]) == (202, "importing"), sent.content
    assert call("post", f"{path}/publish").status_code == 409

    from datasets.imports import run_import

    run_import(DatasetVersion.objects.get(uid=made["version"]).pk)
    assert call("post", f"{path}/publish").json()["state"] == "published"
    assert call("get", f"{path}/rows?q=q2").json()["items"][0]["number"] == 3
    assert call("get", f"{path}/rows?q=(&regex=true").status_code == 422
    assert call("get", f"{path}/statistics").json()["statistics"]["characters"]["total"] > 0
    key = call("get", f"{path}/exports").json()["items"][0]["key"]
    assert b"q2" in b"".join(call("get", f"{path}/export?key={key}").streaming_content)
    assert call("get", f"{path}/problems").json()["items"] == []
    assert call("delete", path).status_code == 204


def test_connections_of_others_are_not_there(call, make_version):  # noqa: F811
    version = make_version(1, "empty")
    response = call("post", f"dataset-versions/{version.uid}/imports", {"connection": "cn-none"})
    assert (response.status_code, list(fields(response))) == (422, ["connection"])


# --- Notifications and webhooks ------------------------------------------------------------------------------


def test_notifications_are_listed_and_marked_as_read(call, alice, charlie, workspace):
    for number in range(3):
        data = {"uid": f"task-{number}", "run": f"bot V{number}", "base_model": "Toy", "steps": 1}
        record("run.done", workspace.pk, f"task-{number}", data, alice.pk)
    first = call("get", "notifications?limit=2").json()
    assert [item["title"] for item in first["items"]] == ["bot V2 is done", "bot V1 is done"]
    assert first["unread"] == 3 and first["items"][0]["details"]["uid"] == "task-2"
    rest = call("get", f"notifications?after={first['next']}").json()
    assert [item["details"]["uid"] for item in rest["items"]] == ["task-0"] and rest["next"] is None
    assert call("get", "notifications", user=charlie).json()["items"] == []
    uid = first["items"][0]["uid"]
    assert call("post", "notifications/read", {"uids": [uid]}, user=charlie).json() == {"marked": 0}
    assert call("post", "notifications/read", {"uids": [uid, "msg-none"]}).json() == {"marked": 1}
    assert call("get", "notifications?unread=true").json()["unread"] == 2
    assert call("post", "notifications/read", {}).json() == {"marked": 2}
    assert call("get", "notifications?kind=run.failed").json()["items"] == []


def test_a_webhook_by_program(call, bob, charlie, settings):
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.1"]
    body = {"name": "ops", "url": "http://127.0.0.1:9/", "kinds": ["run.done"]}
    made = call("post", "webhooks", body).json()
    assert made["secret"].startswith("whsec_") and made["enabled"]
    path = f"webhooks/{made['uid']}"
    assert "secret" not in call("get", path).json()
    assert set(fields(call("post", "webhooks", body | {"url": "http://10.0.0.1/"}))) == {"url", "name"}
    assert set(fields(call("put", path, body | {"kinds": ["run.painted"]}))) == {"kinds"}
    assert call("put", path, body | {"enabled": False}).json()["enabled"] is False
    assert call("post", f"{path}/secret").json()["secret"] != made["secret"]
    sent = call("post", f"{path}/test")
    assert (sent.status_code, sent.json()["kind"], sent.json()["state"]) == (202, "webhook.test", "waiting")
    again = f"{path}/deliveries/{sent.json()['uid']}/again"
    assert call("post", again).status_code == 409
    Delivery.objects.update(state="Failed", problem={"code": "status", "params": {"status": 500}})
    assert call("get", f"{path}/deliveries").json()["items"][0]["problem"].endswith("status 500.")
    assert call("post", again).json()["state"] == "waiting"
    for person, status in ((bob, 403), (charlie, 404)):
        assert call("get", path, user=person).status_code == status
    assert call("get", "webhooks", user=bob).status_code == 403
    assert call("delete", path, scope=Scope.WRITE).status_code == 403
    assert call("delete", path).status_code == 204 and call("get", "webhooks").json()["items"] == []


# --- The rest, and the page ----------------------------------------------------------------------------------


def test_what_is_offered(call, base_model, alice, bob):  # noqa: F811
    assert call("get", "base-models").json()["items"][0]["methods"] == ["LoRA"]
    offers = call("get", "base-models/Toy-8K").json()["offers"]
    assert offers[0]["hyperparameters"][0] | {"label": "", "help": ""} == {
        "key": "epoch",
        "label": "",
        "help": "",
        "type": "integer",
        "default": 1,
        "range": [1, 50],
        "choices": None,
        "unit": offers[0]["hyperparameters"][0]["unit"],
        "group": offers[0]["hyperparameters"][0]["group"],
        "advanced": False,
        "when": {},
    }
    for path in (
        "workspace/standing",
        "pools",
        "corpora",
        "presets",
        "connections",
        "models",
        "notification-kinds",
    ):
        assert call("get", path).status_code == 200
    assert [item["username"] for item in call("get", "workspace/members").json()["items"]] == ["alice", "bob"]


def test_the_page_describes_it_without_inline_code(client_of, alice):
    response = client_of(alice).get("/api/v1/docs")
    text = response.content.decode()
    assert response.status_code == 200 and "swagger-ui-bundle" in text and "onclick" not in text
    assert "<style" not in text and "http://" not in text.replace("http://www.w3.org", "")
    assert Client().get("/api/v1/docs").status_code == 302
    assert Client().get("/api/v1/openapi.json").json()["openapi"] == "3.1.0"
