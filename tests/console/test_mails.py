"""Notifications by e-mail, through a real mail server on this machine."""

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from aiosmtpd.controller import Controller
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from console import env
from console.embedded import free_port
from console.models import Mail, Membership
from console.notifications.recording import record
from console.tasks import send_due, send_mail


class Box:
    """Keeps what arrives; `refusal` is what it says instead, as often as that is set."""

    def __init__(self) -> None:
        self.received: list[EmailMessage] = []
        self.refusal = ""

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:
        if self.refusal:
            return self.refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope) -> str:
        self.received.append(message_from_bytes(envelope.original_content, policy=policy.default))
        return "250 OK"


@pytest.fixture
def box(settings):
    handler = Box()
    controller = Controller(handler, hostname="127.0.0.1", port=free_port())
    controller.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = controller.hostname, controller.port
    settings.MAIL_SERVER = {"host": settings.EMAIL_HOST}
    settings.DEFAULT_FROM_EMAIL = "Jingtiao <console@example.com>"
    settings.PUBLIC_URL = "https://console.example.com"
    yield handler
    controller.stop()


@pytest.fixture
def mail(workspace, alice, box) -> Mail:
    """One that waits to be sent to Alice."""
    alice.email = "alice@example.com"
    alice.save()
    failure = {"code": "disk_full", "params": {}, "message": "?"}
    record(
        "run.failed",
        workspace.pk,
        "task-1",
        {"uid": "task-1", "run": "<bot> V1", "failure": failure},
        alice.pk,
    )
    return Mail.objects.get()


def state(mail: Mail) -> tuple[str, int]:
    mail.refresh_from_db()
    return mail.state, mail.attempts


def test_a_mail_arrives_with_text_html_and_a_link(mail, box):
    send_mail.apply((mail.pk,))
    [got] = box.received
    assert (got["to"], got["from"]) == ("alice@example.com", "Jingtiao <console@example.com>")
    assert got["subject"] == "[Vision and Language] <bot> V1 has failed"
    plain, html = (got.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for body in (plain, html):
        assert "is full. Ask an operator to make room" in body
        assert f"https://console.example.com/notifications/{mail.notification.uid}/" in body
    assert "<bot>" in plain and "&lt;bot&gt;" in html
    assert state(mail) == ("Done", 1)


def test_a_mail_is_in_the_language_of_its_reader(mail, box, alice):
    alice.language = "zh-hans"
    alice.save()
    send_mail.apply((mail.pk,))
    assert "训练失败" in box.received[0]["subject"] and "磁盘" in box.received[0].get_body().get_content()


def test_a_message_that_comes_twice_sends_once(mail, box):
    send_mail.apply((mail.pk,))
    send_mail.apply((mail.pk,))
    assert len(box.received) == 1


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(mail, box, monkeypatch):
    box.refusal = "450 try later"
    monkeypatch.setattr("console.notifications.outbox.RETRIES", 2)
    # Without a broker between them Celery makes its attempts one after the other.
    send_mail.apply((mail.pk,))
    assert state(mail) == ("Failed", 3) and "450 try later" in mail.problem["params"]["answer"]
    Mail.objects.update(state="Waiting", attempts=0)
    box.refusal = "550 no such user"
    send_mail.apply((mail.pk,))
    assert state(mail) == ("Failed", 1)


def test_what_a_dead_worker_left_is_sent_by_beat(mail, box, monkeypatch):
    """Killed between claiming and sending: the attempt counts, and nothing was sent."""
    woken = []
    monkeypatch.setattr(
        send_mail, "apply_async", lambda args, **options: woken.append((args, options["retries"]))
    )
    Mail.objects.update(attempts=1, due_at=mail.due_at)
    send_due()
    assert woken == [], "its time has not passed"
    Mail.objects.update(due_at=mail.due_at.replace(year=2020))
    send_due()
    assert woken == [((mail.pk,), 1)]
    send_mail.apply((mail.pk,), retries=1)
    assert len(box.received) == 1 and state(mail) == ("Done", 2)


def test_who_has_left_gets_no_mail(mail, box, alice):
    Membership.objects.filter(user=alice).delete()
    send_mail.apply((mail.pk,))
    assert not box.received and state(mail)[0] == "Failed"


@pytest.mark.parametrize(
    ("value", "port", "tls", "ssl"),
    [
        ("smtp://mail.lan", 25, False, False),
        ("smtp://me:p%40ss@mail.lan?tls=starttls", 587, True, False),
        ("smtps://me:p%40ss@mail.lan", 465, False, True),
        ("smtps://mail.lan:2465", 2465, False, True),
    ],
)
def test_the_address_of_a_mail_server(monkeypatch, value, port, tls, ssl):
    monkeypatch.setenv("MAIL", value)
    read = env.mail_server("MAIL")
    assert (read["host"], read["port"], read["use_tls"], read["use_ssl"]) == ("mail.lan", port, tls, ssl)
    assert read["password"] == ("p@ss" if "@mail" in value else "")


@pytest.mark.parametrize(
    "value", ["mail.lan", "http://mail.lan", "smtp://mail.lan?tls=maybe", "smtp://mail.lan:x"]
)
def test_a_mail_server_that_makes_no_sense_stops_the_start(monkeypatch, value):
    monkeypatch.setenv("MAIL", value)
    with pytest.raises(ImproperlyConfigured, match="MAIL"):
        env.mail_server("MAIL")


@pytest.mark.parametrize(
    "value", ["console.lan", "ftp://console.lan", "https://console.lan/?a=1", "https://:1"]
)
def test_an_address_of_the_console_that_is_none_stops_the_start(monkeypatch, value):
    monkeypatch.setenv("PLACE", value)
    with pytest.raises(ImproperlyConfigured, match="PLACE"):
        env.url("PLACE", "")


def test_a_mail_server_without_a_sender_is_told_at_the_start(settings):
    settings.MAIL_SERVER, settings.DEFAULT_FROM_EMAIL = {"host": "mail"}, "Jingtiao"
    assert "console.E003" in {problem.id for problem in run_checks()}
    settings.DEFAULT_FROM_EMAIL = "Jingtiao <console@example.com>"
    assert "console.E003" not in {problem.id for problem in run_checks()}
