"""Whoever guesses passwords has to wait, under that name and from that address; nobody else has."""

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.conf import settings as configured
from django.test import Client
from django.urls import reverse

LOGIN = reverse("login")


def attempt(typed: str = "wrong", name: str = "alice", **extra):
    return Client().post(LOGIN, {"username": name, "password": typed, "next": "/models/"}, **extra)


@pytest.fixture
def guessed(alice) -> None:
    """Somebody failed for Alice as often as it takes."""
    for _number in range(configured.AXES_FAILURE_LIMIT):
        attempt()


def test_a_few_failures_are_nothing(alice):
    for _number in range(configured.AXES_FAILURE_LIMIT - 1):
        assert attempt().status_code == 200
    assert attempt("password").url == "/models/"
    assert not AccessAttempt.objects.exists()  # begins anew


@pytest.mark.parametrize(
    ("language", "text"), [("en", "Try again in 10 minutes"), ("zh-CN", "请在 10 分钟后重试")]
)
def test_after_too_many_not_even_the_right_password_opens(guessed, language, text):
    response = attempt("password", headers={"accept-language": language})
    assert response.status_code == 429
    assert text in response.text
    assert 590 < int(response["Retry-After"]) <= 600
    assert 'value="alice"' in response.text and 'value="/models/"' in response.text
    assert "no-cache" in response["Cache-Control"]


def test_the_wait_ends_and_is_not_prolonged_by_trying(guessed):
    AccessAttempt.objects.update(attempt_time=AccessAttempt.objects.get().attempt_time - timedelta(minutes=9))
    response = attempt()
    assert (response.status_code, "in 1 minute." in response.text) == (429, True)
    AccessAttempt.objects.update(attempt_time=AccessAttempt.objects.get().attempt_time - timedelta(minutes=2))
    assert attempt("password").status_code == 302


def test_others_and_alice_elsewhere_are_not_held_up(guessed, bob):
    assert attempt("password", "bob").status_code == 302
    assert attempt("password", REMOTE_ADDR="192.0.2.7").status_code == 302


def test_names_that_nobody_has_are_slowed_down_alike(db):
    statuses = [attempt(name="nobody").status_code for _number in range(configured.AXES_FAILURE_LIMIT)]
    assert statuses[-1] == 429


def test_an_address_in_a_header_counts_behind_a_proxy_alone(guessed, settings):
    header = {"headers": {"x-forwarded-for": "192.0.2.7"}}
    assert attempt("password", **header).status_code == 429
    settings.BEHIND_PROXY = True
    assert attempt("password", **header).status_code == 302


def test_passwords_are_not_kept(guessed):
    kept = str(AccessAttempt.objects.values().get())
    assert "wrong" not in kept


def test_the_admin_signs_in_on_the_same_page(client, guessed):
    response = client.get("/admin/jobs/run/", follow=True)
    assert response.redirect_chain[-1][0].startswith(LOGIN)
    assert "next=/admin/jobs/run/" in response.redirect_chain[-1][0]
    form = {"username": "alice", "password": "password"}
    assert client.post("/admin/login/", form).url.startswith(LOGIN)  # no other way in


def test_the_admin_is_for_operators(client_of, alice):
    client = client_of(alice)
    assert client.get("/admin/", follow=True).status_code == 403
    alice.is_staff = True
    alice.save()
    assert client.get("/admin/").status_code == 200
    assert client.get("/admin/login/").url == "/admin/"


def test_failures_of_keys_are_not_counted(client, alice):
    for _number in range(configured.AXES_FAILURE_LIMIT + 1):
        assert client.get("/api/v1/jobs", headers={"Authorization": "Bearer sk-guess"}).status_code == 401
    assert not AccessAttempt.objects.exists()
    assert attempt("password").status_code == 302
