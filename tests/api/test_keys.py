"""API keys: their page, what is kept of them, and that they never give more than their owner has."""

import pytest
from django.core.management import call_command
from django.urls import reverse

from console.api import keys
from console.models import ApiKey, Membership, Role, Scope


def test_a_key_is_made_and_its_secrets_shown_once(client_of, alice):
    client = client_of(alice)
    response = client.post(reverse("api_key_create"), {"name": "nightly", "scope": "write"})
    made = response.context["made"]
    assert made.secret_key in response.text and made.token in response.text
    assert "no-store" in response["Cache-Control"]
    page = client.get(reverse("api_keys")).text
    assert made.access_key in page
    assert made.secret_key not in page and made.token not in page


def test_no_secret_lies_in_the_database_in_clear(make_key, alice):
    made = make_key(alice)
    row = str(ApiKey.objects.values().get())
    assert made.secret_key not in row and made.token not in row
    assert keys.secret_of(ApiKey.objects.get()) == made.secret_key


def test_a_viewer_gets_reading_keys_only(client_of, bob):
    response = client_of(bob).post(reverse("api_key_create"), {"name": "mine", "scope": "write"})
    assert response.status_code == 422
    with pytest.raises(keys.KeyRefused):
        keys.issue(bob, bob.memberships.get().workspace, "mine", Scope.WRITE)
    assert client_of(bob).post(reverse("api_key_create"), {"name": "a", "scope": "read"}).context["made"]


def test_a_revoked_key_is_refused_at_once(client_of, make_key, alice):
    made = make_key(alice)
    client_of(alice).post(reverse("api_key_revoke", args=[ApiKey.objects.get().pk]))
    assert keys.caller_by_access_key(made.access_key) is None
    assert keys.caller_by_token(made.token) is None


def test_owners_revoke_keys_of_others_and_others_do_not(client_of, make_key, alice, bob, charlie):
    make_key(alice)
    address = reverse("api_key_revoke", args=[ApiKey.objects.get().pk])
    assert client_of(bob).post(address).status_code == 404
    assert client_of(charlie).post(address).status_code == 404
    assert client_of(alice).get(address).status_code == 405
    make_key(bob)
    of_bob = ApiKey.objects.get(user=bob)
    client_of(alice).post(reverse("api_key_revoke", args=[of_bob.pk]))
    of_bob.refresh_from_db()
    assert of_bob.revoked_at


def test_a_key_follows_the_role_of_its_owner(make_key, alice):
    token = make_key(alice, Scope.ADMIN).token
    Membership.objects.filter(user=alice).update(role=Role.VIEWER)
    caller = keys.caller_by_token(token)
    assert caller.may(Scope.READ) and not caller.may(Scope.WRITE)
    Membership.objects.filter(user=alice).delete()
    assert keys.caller_by_token(token) is None


def test_scopes_include_those_below_them(make_key, alice):
    caller = keys.caller_by_token(make_key(alice, Scope.WRITE).token)
    assert [caller.may(scope) for scope in (Scope.READ, Scope.WRITE, Scope.ADMIN)] == [True, True, False]


def test_secrets_outlive_a_change_of_the_secret_key(settings, make_key, alice):
    made, before = make_key(alice), settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [before]
    assert keys.secret_of(ApiKey.objects.get()) == made.secret_key
    call_command("reencrypt_keys")
    settings.SECRET_KEY_FALLBACKS = []
    assert keys.secret_of(ApiKey.objects.get()) == made.secret_key


def test_the_last_use_is_noted_once_a_minute(make_key, alice, django_assert_num_queries):
    key = keys.caller_by_token(make_key(alice).token).key
    keys.note_use(key)
    key.refresh_from_db()
    assert key.last_used_at
    with django_assert_num_queries(0):
        keys.note_use(key)


def test_the_page_asks_the_same_number_of_queries_for_any_number_of_keys(
    client_of, make_key, alice, django_assert_max_num_queries
):
    for _number in range(5):
        make_key(alice)
    client = client_of(alice)
    with django_assert_max_num_queries(6):
        client.get(reverse("api_keys"))
