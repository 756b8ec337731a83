"""One's own password: changed with the old one, and no other session outlives it."""

import pytest
from django.test import Client
from django.urls import reverse

from console import account, rate_limits

ADDRESS = reverse("password")
NEW = "correct horse battery staple"


@pytest.fixture(autouse=True)
def no_attempts_yet(settings):
    rate_limits._client(settings.REDIS_URL).flushdb()


def post(client: Client, old: str = "password", new: str = NEW, again: str = NEW):
    return client.post(ADDRESS, {"old_password": old, "new_password1": new, "new_password2": again})


def test_a_new_password_ends_every_other_session(client_of, alice):
    here, elsewhere = client_of(alice), client_of(alice)
    assert post(here).url == reverse("preferences")
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    assert here.get(reverse("preferences")).status_code == 200
    assert elsewhere.get(reverse("preferences")).status_code == 302


@pytest.mark.parametrize(
    ("typed", "field"),
    [(("wrong",), "old_password"), (("password", "12345678", "12345678"), "new_password2")],
)
def test_what_is_wrong_stands_at_its_field(client_of, alice, typed, field):
    response = post(client_of(alice), *typed)
    assert response.status_code == 422
    assert response.context["form"].errors.keys() == {field}


def test_the_old_password_cannot_be_guessed_from_an_open_session(client_of, alice):
    client = client_of(alice)
    for number in range(account.ATTEMPTS_A_MINUTE):
        post(client, f"guess-{number}")
    assert "Too many attempts" in post(client).text
    alice.refresh_from_db()
    assert alice.check_password("password")


@pytest.mark.parametrize("is_off", [True, False])
def test_who_signs_in_without_a_password_is_offered_no_change(client_of, alice, settings, is_off):
    settings.PASSWORD_SIGN_IN = not is_off
    if not is_off:
        alice.set_unusable_password()
        alice.save()
    client = client_of(alice)
    assert ADDRESS not in client.get(reverse("preferences")).text
    assert client.get(ADDRESS).status_code == 404


def test_visitors_sign_in_first(client, db):
    assert client.get(ADDRESS).url.startswith(reverse("login"))
