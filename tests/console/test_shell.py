"""Sign-in, the choices in the header, and who may make them."""

import pytest
from django.urls import reverse

from console.models import Membership, Role, Workspace


@pytest.mark.parametrize("name", ["home", "jobs:list", "datasets:list", "models:list", "catalog:list"])
def test_visitors_are_sent_to_sign_in(client, db, name):
    response = client.get(reverse(name))
    assert response.status_code == 302
    assert response.url.startswith(reverse("login"))


def test_signing_in_opens_the_console(client, alice):
    response = client.post(reverse("login"), {"username": "alice", "password": "password"})
    assert response.url == reverse("home")


def test_the_language_is_remembered_in_the_account(client_of, alice):
    client_of(alice).post(reverse("set_language"), {"language": "zh-hans"})
    alice.refresh_from_db()
    assert alice.language == "zh-hans"


def test_an_unknown_language_changes_nothing(client_of, alice):
    client_of(alice).post(reverse("set_language"), {"language": "tlh"})
    alice.refresh_from_db()
    assert alice.language == "en"


def test_visitors_choose_a_language_too(client, db):
    client.post(reverse("set_language"), {"language": "zh-hans"})
    assert 'lang="zh-hans"' in client.get(reverse("login")).content.decode().lower()


def test_the_theme_is_remembered(client_of, alice):
    client_of(alice).post(reverse("set_theme"), {"theme": "dark"})
    alice.refresh_from_db()
    assert alice.theme == "dark"


def test_a_redirect_never_leaves_the_console(client_of, alice):
    response = client_of(alice).post(
        reverse("set_theme"), {"theme": "dark", "next": "https://elsewhere.example/"}
    )
    assert response.url == "/"


def test_people_switch_between_their_own_workspaces_only(client_of, alice, charlie):
    second = Workspace.objects.create(name="Second")
    Membership.objects.create(user=alice, workspace=second, role=Role.MEMBER)
    client = client_of(alice)
    client.post(reverse("switch_workspace"), {"workspace": second.pk})
    assert client.session["workspace"] == second.pk
    client.post(reverse("switch_workspace"), {"workspace": charlie.workspaces.get().pk})
    assert client.session["workspace"] == second.pk


@pytest.mark.parametrize("name", ["set_language", "set_theme", "switch_workspace"])
def test_choices_are_posted(client_of, alice, name):
    assert client_of(alice).get(reverse(name)).status_code == 405


def test_pages_carry_a_strict_content_security_policy(client, db):
    policy = client.get(reverse("login"))["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy


def test_health(client):
    assert client.get("/healthz").json() == {"status": "ok"}


def test_preferences_are_saved(client_of, alice):
    posted = {"language": "zh-hans", "time_zone": "Europe/Berlin", "theme": "light", "email": "a@example.org"}
    client_of(alice).post(reverse("preferences"), posted)
    alice.refresh_from_db()
    assert {key: getattr(alice, key) for key in posted} == posted


def test_an_address_that_is_none_is_an_error_at_its_field(client_of, alice):
    response = client_of(alice).post(reverse("preferences"), {"email": "alice", "theme": "auto"})
    assert response.status_code == 422
    assert response.context["form"].errors.keys() == {"email"}
    assert 'value="alice"' in response.text


def test_an_unknown_time_zone_is_an_error_at_its_field(client_of, alice):
    response = client_of(alice).post(reverse("preferences"), {"time_zone": "Mars/Olympus", "theme": "auto"})
    assert response.status_code == 422
    assert "Mars/Olympus is not a known time zone" in response.content.decode()
