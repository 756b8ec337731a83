"""Every address of the console, found in the URLconf, asked for by everybody: nobody meets an error, strangers learn
nothing, viewers change nothing. An address with a parameter that ARGUMENTS cannot fill fails the test: nobody can add
one and forget it here.

The rules (console/access.py): who has not signed in is led to the sign-in page or refused; what belongs to another
workspace does not exist (404); viewers read and are refused what changes something (403); members do everything but
what OWNERS keep for themselves. Where a method is not offered at all the answer may be 405 for anybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils import timezone

from catalog.models import HubAccount, Model, ModelVersion
from console.api.keys import issue
from console.models import Delivery, Membership, Notification, Role, Scope, User, Webhook
from console.notifications import webhooks
from console.notifications.recording import record
from datasets.models import Connection, Upload
from jobs.models import Checkpoint, RunState

# What only Alice's workspace has in its names.
MARK = "Geheimrat"
# For those who have not signed in.
PUBLIC = {
    "login",
    "logout",
    "set_language",
    "healthz",
    "readyz",
    "rest:api-root",
    "rest:openapi-json",
    "rest:",
}
# Of the catalogue, which everybody signed in shares.
SHARED = ("catalog:", "rest:base_model")
# Sending a form that changes nothing in the workspace: a conversation, the wizard's panel, a configuration's check, and
# what is a person's own (drafts, preferences, what they have read).
READING_POSTS = re.compile(
    r"^(catalog:|models:(chat|checkpoint)_answer|rest:(api-root|openapi-json)|jobs:(panel|save_draft|discard_draft)|rest:check"
    r"|login|logout|set_language|set_theme|preferences|password|switch_workspace|api_key_|datasets:count_tokens"
    r"|notification|rest:read$)"
)
OWNERS = re.compile(
    r"^(audit|audit_file|tracking|member_(add|role|remove)|webhook.*|rest:(new_secret|test|send_again|.*webhook.*))$"
)
# Where nothing serves models, chatting says so.
NO_SERVER = 503
# <uid:…> of a path, (?P<uid>…) of an expression.
PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^()]*\)")
# Methods besides GET and POST that the own API knows.
METHODS = {"rest": ("GET", "POST", "DELETE")}


@dataclass(frozen=True)
class Address:
    """`names_object` says that a parameter names something of Alice's workspace."""

    name: str
    path: str
    names_object: bool

    @property
    def methods(self) -> tuple[str, ...]:
        return METHODS.get(self.name.partition(":")[0], ("GET", "POST"))

    @property
    def is_program(self) -> bool:
        """For programs with a key; the own API's page signs in with the session as well."""
        return not self.name or self.name == "qianfan_rows"


# --- What there is -----------------------------------------------------------------------------------------------


@pytest.fixture
def arguments(workspace, alice, make_run, make_version) -> dict[str, dict[str, Any]]:
    """What stands for the parameters of an address, by the route's beginning; the longest that fits counts."""
    workspace.name = f"{MARK} AG"
    workspace.save()
    version = make_version(3, name=f"{MARK} data")
    run = make_run(RunState.DONE, started_at=timezone.now(), finished_at=timezone.now())
    run.job.name = f"{MARK} job"
    run.job.save()
    Checkpoint.objects.create(run=run, step=5, path="checkpoints/checkpoint-5", created_at=timezone.now())
    model = Model.objects.create(workspace=workspace, name=f"{MARK} model", model_type="text2text")
    model_version = ModelVersion.objects.create(
        model=model, number=1, state="ready", base_model=run.base_model, method="LoRA", path="models/x"
    )
    connection = Connection.objects.create(
        workspace=workspace,
        name=f"{MARK} store",
        endpoint="http://127.0.0.1:9",
        access_key="x",
        created_by=alice,
    )
    hub = HubAccount.objects.create(workspace=workspace, name=f"{MARK} hub")
    upload = Upload.objects.create(version=version, user=alice, name="a", size=1, fingerprint="f")
    told = {"uid": run.uid, "run": str(run), "failure": {"code": "disk_full", "params": {}, "message": ""}}
    hook = Webhook(workspace=workspace, name=f"{MARK} ops", url="https://127.0.0.1:9/", kinds=["run.failed"])
    webhooks.set_secret(hook)
    hook.save()
    record("run.failed", workspace.pk, run.uid, told, alice.pk)
    notification, delivery = Notification.objects.get(), Delivery.objects.get()
    other = Membership.objects.create(workspace=workspace, user=User.objects.create_user("dora"))
    of_hook = {"uid": hook.uid, "delivery": delivery.uid}
    key, _made = issue(alice, workspace, f"{MARK} key", Scope.ADMIN)
    of_version = {"uid": version.uid, "upload_uid": upload.uid, "key": "empty", "name": "x.png", "number": 1}
    of_version["ending"] = "csv"
    of_run = {"uid": run.uid, "name": "x.png", "step": 5}
    of_model = {"uid": model_version.uid, "name": "x"}
    of_api_run = {"job": run.uid, "rest": "x", "model": "x", "file": version.uid}
    return {
        "sft/": {"uid": run.job.uid},
        "sft/runs/": of_run,
        "sft/new/source/": of_version,
        "datasets/": {"uid": version.dataset.uid},
        "datasets/versions/": of_version,
        "datasets/^versions/": of_version,
        "datasets/connections/": {"uid": connection.uid},
        "models/": {"uid": model.uid},
        "models/versions/": of_model,
        "models/runs/": of_run,
        "models/hubs/": {"uid": hub.uid},
        "base-models/": {"name": run.base_model.name},
        "api-keys/": {"pk": key.pk},
        "^audit/": {"ending": "csv"},
        "notifications/": {"uid": notification.uid},
        "webhooks/": of_hook,
        "members/": {"pk": other.pk},
        "api/v1/webhooks/": of_hook,
        "api/v1/workspace/members/": {"username": other.user.username},
        "api/v1/base-models/": {"name": run.base_model.name},
        "api/v1/datasets/": {"uid": version.dataset.uid},
        "api/v1/dataset-versions/": {"uid": version.uid},
        "api/v1/connections/": {"uid": connection.uid},
        "api/v1/jobs/": {"uid": run.job.uid},
        "api/v1/runs/": {"uid": run.uid},
        "api/v1/models/": {"uid": model.uid},
        "api/v1/model-versions/": of_model,
        "v1/": of_api_run,
        "v2/": of_api_run,
        "wenxinworkshop/": of_api_run,
        "wenxinworkshop/content/": {"token": "x"},
    }


def patterns(
    resolver: URLResolver, route: str = "", space: str = ""
) -> Iterator[tuple[str, str, URLPattern]]:
    """Every pattern with its whole route and its name with namespaces."""
    for item in resolver.url_patterns:
        whole = route + str(item.pattern)
        if isinstance(item, URLResolver):
            yield from patterns(item, whole, f"{space}{item.namespace}:" if item.namespace else space)
        else:
            yield whole, space + (item.name or ""), item


def addresses(arguments: dict[str, dict[str, Any]]) -> list[Address]:
    """All but the admin's, each once however many names it has."""
    found: dict[str, Address] = {}
    for route, name, _pattern in patterns(get_resolver()):
        if name.startswith("admin:"):
            continue
        starts = sorted((start for start in arguments if route.startswith(start)), key=len)
        values = arguments[starts[-1]] if starts else {}
        path = "/" + PARAMETER.sub(lambda match: str(values[match[1] or match[2]]), route)  # noqa: B023 -- used at once
        path = path.replace("^", "").replace("$", "").replace("\\", "")
        names_object = (
            bool(PARAMETER.search(route)) and "base-models/" not in path and not path.startswith("/audit")
        )
        found.setdefault(path, Address(name, path, names_object))
    return list(found.values())


# --- Who asks ----------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    address: Address
    method: str
    status: int
    text: str
    location: str

    @property
    def refuses_program(self) -> bool:
        """Qianfan's API says in the body that it refuses, with status 200."""
        found = re.search(r'"(error_code|errorCode|code)"', self.text)
        return self.address.is_program and found is not None

    def __str__(self) -> str:
        return f"{self.method} {self.address.path} ({self.address.name}): {self.status} {self.location}"


@pytest.fixture
def ask(arguments, settings):
    """Returns a function that asks for everything as a person (None: nobody), and undoes what that changed."""

    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"

    def go(person: User | None, only: str = "") -> list[Answer]:
        client = Client(raise_request_exception=False, headers={"accept-language": "en"})
        headers = {}
        if person is not None:
            client.force_login(person)
            membership = Membership.objects.select_related("workspace").get(user=person)
            scope = Scope.READ if membership.role == Role.VIEWER else Scope.ADMIN
            headers["Authorization"] = f"Bearer {issue(person, membership.workspace, 'own', scope)[1].token}"
        answers = []
        for address in addresses(arguments):
            for method in (only,) if only else address.methods:
                with transaction.atomic():
                    given = client.generic(
                        method, address.path, headers=headers if address.is_program else {}
                    )
                    body = b"".join(given.streaming_content) if given.streaming else given.content
                    transaction.set_rollback(True)
                text = body.decode(errors="replace")
                answers.append(
                    Answer(address, method, given.status_code, text, given.headers.get("Location", ""))
                )
                if address.name == "logout":
                    client.force_login(person) if person else None
        return answers

    return go


def check(answers: list[Answer], rule: Callable[[Answer], bool]) -> None:
    wrong = [str(answer) for answer in answers if not rule(answer)]
    assert not wrong, "\n" + "\n".join(wrong)


def is_no_error(answer: Answer) -> bool:
    is_chat = answer.address.name.endswith(("_answer", "readyz")) or "chat/completions" in answer.address.path
    return answer.status < 500 or (answer.status == NO_SERVER and is_chat)


def test_who_has_not_signed_in_gets_nowhere(ask):
    def holds(answer: Answer) -> bool:
        if answer.address.name in PUBLIC:
            return is_no_error(answer) and MARK not in answer.text
        to_login = answer.status == 302 and answer.location.startswith(reverse("login"))
        refused = to_login or answer.refuses_program or answer.status in (400, 401, 403, 404, 405)
        return refused and MARK not in answer.text

    check(ask(None), holds)


def test_to_a_stranger_nothing_of_it_exists(ask, charlie):
    def holds(answer: Answer) -> bool:
        if not is_no_error(answer) or MARK in answer.text:
            return False
        if answer.address.names_object and not answer.address.is_program:
            # What is no valid order at all is refused before anything is looked up.
            return answer.status in (404, 405, 422)
        return True

    check(ask(charlie), holds)


def test_a_viewer_reads_and_changes_nothing(ask, bob):
    def holds(answer: Answer) -> bool:
        if not is_no_error(answer):
            return False
        if answer.method in ("GET", "HEAD") or READING_POSTS.match(answer.address.name):
            return True
        if answer.address.is_program:
            return answer.refuses_program or answer.status in (400, 401, 403, 404, 405)
        return answer.status in (403, 405)

    check(ask(bob), holds)


def test_an_owner_meets_no_error_and_all_that_there_is(ask, alice):
    """Did the walk not meet its objects, the other tests would see nothing but 404."""
    # Files and parts that are not there, what wants to be told more, or another method, and what operators read.
    absent = {"sample", "picture", "thumbnail", "file", "mend", "discard_upload", "version_file", "archive"}
    absent |= {"version_archive", "log_download", "chat", "chat_answer", "import_objects", "drop_flagged"}
    absent |= {"count_tokens", "priority", "metrics"}
    answers = ask(alice)
    check(answers, lambda answer: is_no_error(answer) and (answer.status != 403 or answer.address.is_program))
    met = {answer.address.path for answer in answers if answer.status not in (404, 405)}
    missing = {
        answer.address.path
        for answer in answers
        if not answer.address.is_program and answer.address.name.rpartition(":")[2] not in absent
    }
    assert not missing - met, "\n" + "\n".join(sorted(missing - met))


def test_a_member_does_all_but_what_owners_keep(ask, alice):
    Membership.objects.filter(user=alice).update(role=Role.MEMBER)

    def holds(answer: Answer) -> bool:
        if OWNERS.match(answer.address.name):
            # The own API reads an order before it looks who gives it.
            is_unread = answer.status == 422 and answer.address.name.startswith("rest:")
            return answer.status in (403, 404, 405) or is_unread
        return is_no_error(answer) and (answer.status != 403 or answer.address.is_program)

    check(ask(alice, only="POST"), holds)


def test_the_admin_is_for_staff_alone(client, client_of, alice):
    """Of an owner it wants another sign-in, as of everybody."""
    for asking in (client, client_of(alice)):
        for route, name, _pattern in patterns(get_resolver()):
            if name.startswith("admin:") and name not in ("admin:login", "admin:logout", "admin:jsi18n"):
                path = "/" + re.sub(r"<(?:\w+:)?\w+>", "1", route)
                if "(?P" in path:
                    continue
                answer = asking.get(path)
                assert answer.status_code == 302 and "login" in answer["Location"], path
