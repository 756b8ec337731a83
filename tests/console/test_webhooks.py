"""Webhooks: what arrives and how it is signed, what is tried again, what is never called; and who manages them."""

import json
import socket
from contextlib import suppress
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from standardwebhooks import Webhook as StandardWebhook

from console.endpoints import EndpointRefused, check_url
from console.models import AuditEntry, Delivery, Membership, Notification, Role, Webhook
from console.notifications import outbox, webhooks
from console.notifications.kinds import KINDS
from console.notifications.recording import record
from console.secrets import WEBHOOKS, decrypt
from console.tasks import deliver_webhook
from tests.console.receiver import receiver

LIST = reverse("webhooks")


@pytest.fixture(autouse=True)
def _allowed(settings):
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.0/8"]
    settings.PUBLIC_URL = "https://console.example.com"


@pytest.fixture
def server():
    with receiver() as server:
        yield server


@pytest.fixture
def hook(workspace, server) -> Webhook:
    hook = Webhook(workspace=workspace, name="ops", url=server.url, kinds=list(KINDS))
    webhooks.set_secret(hook)
    hook.save()
    return hook


@pytest.fixture
def delivery(hook, alice) -> Delivery:
    """A run that is done, on its way."""
    data = {"uid": "task-1", "run": "bot V1", "base_model": "Toy", "steps": 3}
    record("run.done", hook.workspace_id, "task-1", data, alice.pk)
    return Delivery.objects.get()


def send(delivery: Delivery, number: int = 0) -> Delivery:
    """One attempt, as a task makes it; the next is left to Celery."""
    with suppress(outbox.Undelivered):
        outbox.attempt(Delivery, delivery.pk, number, webhooks.deliver)
    delivery.refresh_from_db()
    return delivery


# --- What arrives --------------------------------------------------------------------------------------------


def test_any_library_of_standard_webhooks_accepts_the_signature(delivery, hook, server):
    assert send(delivery).state == "Done"
    [(headers, body)] = server.requests
    said = StandardWebhook(decrypt(hook.secret, WEBHOOKS)).verify(body, headers)
    assert said["type"] == "run.done" and headers["webhook-id"] == Notification.objects.get().uid
    data = said["data"]
    assert data["title"] == {"zh-hans": "bot V1 已完成", "en": "bot V1 is done"}
    assert data["url"] == "https://console.example.com/sft/runs/task-1/" and data["details"]["steps"] == 3
    with pytest.raises(Exception, match="signature"):
        StandardWebhook(webhooks.new_secret()).verify(body, headers)


def test_only_what_was_chosen_is_sent_and_nothing_while_it_is_off(hook, alice):
    Webhook.objects.update(kinds=["run.failed"])
    record("run.done", hook.workspace_id, "task-1", {}, alice.pk)
    Webhook.objects.update(kinds=["run.done"], enabled=False)
    record("run.done", hook.workspace_id, "task-2", {}, alice.pk)
    assert not Delivery.objects.exists()


def test_an_answer_is_kept_short(delivery, server):
    server.answer = "好\0".encode() * 1000
    noted = send(delivery).log[-1]
    assert noted["status"] == 200 and noted["answer"].startswith("好") and len(noted["answer"]) < 500


# --- What is tried again -------------------------------------------------------------------------------------


def test_a_failure_is_tried_again_later_with_the_same_body(delivery, server):
    server.status = 503
    send(delivery)
    assert (delivery.state, delivery.attempts) == ("Waiting", 1)
    assert outbox.problem_text(delivery.problem) == "The server answered with status 503."
    assert 50 < (delivery.due_at - timezone.now()).total_seconds() < 61
    server.status = 204
    assert send(delivery, 1).state == "Done" and [entry["status"] for entry in delivery.log] == [503, 204]
    [(first, body), (second, again)] = server.requests
    assert body == again and first["webhook-id"] == second["webhook-id"]


def test_pauses_grow_to_about_a_day():
    pauses = [outbox.pause_after(number) for number in range(outbox.RETRIES)]
    assert pauses[:3] == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4)]
    assert timedelta(hours=23) < sum(pauses, timedelta()) < timedelta(hours=26)


def test_after_the_last_attempt_it_is_given_up(delivery, server, monkeypatch):
    server.status = 500
    monkeypatch.setattr(outbox, "RETRIES", 3)
    deliver_webhook.apply((delivery.pk,))
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, len(server.requests)) == ("Failed", 4, 4)


def test_of_two_messages_one_sends(delivery, server):
    deliver_webhook.apply((delivery.pk,))
    deliver_webhook.apply((delivery.pk,))
    deliver_webhook.apply((delivery.pk,), retries=1)
    assert len(server.requests) == 1


def test_an_attempt_that_is_overtaken_does_not_say_what_became_of_it(delivery, server, monkeypatch):
    """Taken for dead while it still waits for its answer, and begun anew meanwhile."""
    monkeypatch.setattr(webhooks, "_judge", lambda status: Delivery.objects.update(attempts=2))
    assert send(delivery).state == "Waiting"


def test_a_redirect_is_not_followed(delivery, server):
    with receiver() as other:
        server.status, server.headers = 307, {"location": other.url}
        assert send(delivery).problem["code"] == "redirected" and not other.requests


def test_a_server_that_is_not_there(delivery, hook):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        Webhook.objects.update(url=f"http://127.0.0.1:{probe.getsockname()[1]}/")
        assert send(delivery).problem["code"] == "unreachable" and "refused" in outbox.problem_text(
            delivery.problem
        )


def test_a_server_that_never_comes_to_an_end_is_cut_off(delivery, monkeypatch):
    """A byte now and then keeps every single wait short."""
    monkeypatch.setattr(webhooks, "WHOLE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as slow:
        Webhook.objects.update(url=f"http://127.0.0.1:{slow.getsockname()[1]}/")
        send(delivery)
    assert delivery.problem["code"] in ("too_slow", "unreachable") and delivery.log[-1]["seconds"] < 5


def test_prometheus_is_told_what_waits(delivery, client, settings):
    settings.METRICS_TOKEN = "t"
    Delivery.objects.update(due_at=timezone.now() - timedelta(minutes=5))
    lines = client.get("/metrics", headers={"Authorization": "Bearer t"}).text.splitlines()
    assert 'jingtiao_outbox{kind="webhook"} 1.0' in lines and 'jingtiao_outbox{kind="mail"} 0.0' in lines
    [late] = [
        line.split()[-1]
        for line in lines
        if line.startswith('jingtiao_outbox_overdue_seconds{kind="webhook"')
    ]
    assert 299 < float(late) < 400


# --- What is never called ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1/",
            "https://localhost/",
            "https://10.0.0.8/hook",
            "https://[::1]/",
            "https://[fd00::1]/",
        ),
        *(
            "http://8.8.8.8/hook",
            "https://169.254.169.254/latest",
            "https://u:p@8.8.8.8/",
            "ftp://8.8.8.8/",
            "hook",
        ),
    ],
)
def test_addresses_that_are_refused(url, settings):
    settings.ALLOWED_PRIVATE_ENDPOINTS = []
    with pytest.raises(EndpointRefused):
        check_url(url)


def test_addresses_that_are_allowed(settings):
    check_url("https://8.8.8.8/hook?a=b")
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["10.1.0.0/16"]
    check_url("http://10.1.2.3:9000/hook")


def test_an_address_that_is_no_longer_allowed_is_not_called(delivery, server, settings):
    settings.ALLOWED_PRIVATE_ENDPOINTS = []
    assert send(delivery).problem["code"] == "not_allowed" and not server.requests


def test_a_name_that_answers_otherwise_a_moment_later_is_not_called(delivery, server, settings, monkeypatch):
    """DNS rebinding: the check sees a public address, the connection ends inside."""
    monkeypatch.setattr(webhooks, "check_url", lambda url: None)
    settings.ALLOWED_PRIVATE_ENDPOINTS = []
    assert send(delivery).problem["code"] == "inner_address" and not server.requests


# --- Switching off -------------------------------------------------------------------------------------------


def test_one_that_fails_for_days_is_switched_off_and_its_owners_are_told(delivery, hook, server, alice):
    server.status = 500
    send(delivery)
    hook.refresh_from_db()
    assert hook.enabled and hook.failing_since
    Webhook.objects.update(failing_since=timezone.now() - timedelta(days=3, minutes=1))
    send(delivery, 1)
    hook.refresh_from_db()
    assert not hook.enabled and hook.given_up_at
    told = alice.receipts.get(notification__kind="webhook.off").notification
    assert (told.title, told.path) == (
        "The webhook “ops” was switched off",
        reverse("webhook", args=[hook.uid]),
    )
    assert send(delivery, 2).problem["code"] == "switched_off" and delivery.state == "Failed"


def test_one_success_forgets_the_failures(delivery, hook, server):
    Webhook.objects.update(failing_since=timezone.now() - timedelta(days=9))
    send(delivery)
    hook.refresh_from_db()
    assert hook.failing_since is None and hook.enabled


def test_a_receiver_that_wants_no_more_gets_no_more(delivery, hook, server):
    server.status = 410
    assert send(delivery).state == "Failed"
    hook.refresh_from_db()
    assert not hook.enabled


# --- Its pages -----------------------------------------------------------------------------------------------


@pytest.fixture
def owner(client_of, alice):
    return client_of(alice)


def test_the_secret_is_shown_once_and_kept_encrypted(owner, server):
    typed = {"name": "ops", "url": server.url, "kinds": ["run.done", "run.failed"]}
    page = owner.post(LIST, typed).text
    hook = Webhook.objects.get()
    secret = decrypt(hook.secret, WEBHOOKS)
    assert secret in page and hook.kinds == ["run.done", "run.failed"] and hook.enabled
    for address in (LIST, reverse("webhook", args=[hook.uid])):
        assert secret not in owner.get(address).text
    entry = AuditEntry.objects.get(object_repr="ops")
    assert secret not in str(entry.changes) and hook.secret not in str(entry.changes)
    other = owner.post(reverse("webhook_secret", args=[hook.uid])).context["made"]
    hook.refresh_from_db()
    assert other != secret and decrypt(hook.secret, WEBHOOKS) == other


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"url": "http://10.0.0.1/hook"}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"kinds": []}, "kinds"),
        ({"kinds": ["run.painted"]}, "kinds"),
        ({"name": "ops"}, "name"),
    ],
)
def test_mistakes_stand_at_their_field_and_nothing_typed_is_lost(owner, hook, server, typed, field):
    answer = owner.post(LIST, {"name": "other", "url": server.url, "kinds": ["run.done"], **typed})
    assert answer.status_code == 422 and set(answer.context["form"].errors) == {field}
    assert typed.get("url", server.url) in answer.text
    assert Webhook.objects.count() == 1


def test_there_are_only_so_many(owner, hook, server, monkeypatch):
    monkeypatch.setattr(webhooks, "MOST", 1)
    answer = owner.post(LIST, {"name": "b", "url": server.url, "kinds": ["run.done"]})
    assert answer.status_code == 422 and "webhooks already" in answer.text


def test_it_is_changed_and_switched_on_again(owner, hook, server):
    Webhook.objects.update(enabled=False, failing_since=timezone.now(), given_up_at=timezone.now())
    page = reverse("webhook", args=[hook.uid])
    assert "The console switched it off" in owner.get(page).text
    owner.post(page, {"name": "new", "url": server.url, "kinds": ["run.done"], "enabled": "on"})
    hook.refresh_from_db()
    assert (hook.name, hook.enabled, hook.failing_since, hook.given_up_at) == ("new", True, None, None)


def test_a_test_is_one_attempt_and_its_answer_is_shown(owner, hook, server):
    owner.post(reverse("webhook_test", args=[hook.uid]))
    server.status, server.answer = 418, b"a teapot"
    delivery = send(Delivery.objects.get())
    assert delivery.state == "Failed" and json.loads(server.requests[0][1])["type"] == "webhook.test"
    text = owner.get(reverse("webhook", args=[hook.uid])).text
    assert "a teapot" in text and "status 418" in text
    hook.refresh_from_db()
    assert hook.failing_since is None


def test_what_is_over_is_sent_again(owner, hook, delivery, server):
    server.status = 410
    send(delivery)
    again = reverse("webhook_again", args=[hook.uid, delivery.uid])
    Webhook.objects.update(enabled=True)
    server.status = 200
    owner.post(again)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("Waiting", 0)
    assert send(delivery).state == "Done" and len(delivery.log) == 2


def test_deliveries_ask_for_themselves_only_while_something_waits(owner, hook, delivery, server):
    page = reverse("webhook", args=[hook.uid])
    part = owner.get(page, headers={"hx-request": "true"}).text
    assert "hx-trigger" in part and "<html" not in part
    send(delivery)
    assert "hx-trigger" not in owner.get(page, headers={"hx-request": "true"}).text


def test_a_page_of_deliveries_costs_the_same_however_long(owner, hook, server, django_assert_max_num_queries):
    for number in range(40):
        record(
            "run.done",
            hook.workspace_id,
            f"task-{number}",
            {"uid": "a", "run": "b", "base_model": "c", "steps": 1},
        )
    with django_assert_max_num_queries(7):
        answer = owner.get(reverse("webhook", args=[hook.uid]))
    assert len(answer.context["deliveries"]) == 30 and answer.context["next"]


def test_deleting_one_deletes_what_was_sent(owner, hook, delivery):
    owner.post(reverse("webhook_delete", args=[hook.uid]))
    assert not Webhook.objects.exists() and not Delivery.objects.exists() and Notification.objects.exists()


def test_only_owners_see_and_change_them(client_of, alice, bob, charlie, hook, delivery):
    page = reverse("webhook", args=[hook.uid])
    changes = [
        *(reverse(name, args=[hook.uid]) for name in ("webhook_secret", "webhook_test", "webhook_delete")),
        reverse("webhook_again", args=[hook.uid, delivery.uid]),
    ]
    for role in (Role.VIEWER, Role.MEMBER):
        Membership.objects.filter(user=bob).update(role=role)
        member = client_of(bob)
        assert {member.get(LIST).status_code, member.get(page).status_code} == {403}
        assert {member.post(address).status_code for address in (LIST, page, *changes)} == {403}
    stranger = client_of(charlie)
    assert {stranger.post(address).status_code for address in (page, *changes)} == {404}
    assert {client_of(alice).get(address).status_code for address in changes} == {405}
    assert Webhook.objects.get().secret == hook.secret
