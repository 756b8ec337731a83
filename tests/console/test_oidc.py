"""Signing in through a real identity provider over HTTP: who it is, who may enter, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse

from console.models import Role, User
from console.oidc import configuration
from tests.console import oidc_urls
from tests.console.identity_provider import SECRET, IdentityProvider, identity_provider

pytestmark = [
    pytest.mark.services,
    pytest.mark.django_db,
    # The provider's, which runs in a thread of this process.
    pytest.mark.filterwarnings("ignore:get_jwt_config"),
]
EN = {"accept-language": "en"}


@pytest.fixture(scope="module")
def running():
    with identity_provider() as provider:
        yield provider


@pytest.fixture
def issuer(running, settings) -> IdentityProvider:
    """The provider, configured; `jane` has an account there."""
    settings.ROOT_URLCONF = oidc_urls.__name__
    settings.OIDC = configuration.Issuer(running.address, "jingtiao", SECRET, "Example ID")
    running.instead.clear()
    running.knows(
        "jane",
        email="jane@example.org",
        email_verified=True,
        preferred_username="jane",
        given_name="Jane",
        family_name="Doe",
    )
    return running


def sign_in(
    issuer: IdentityProvider, sub: str = "jane", client: Client | None = None, query: str = "", **form: str
):
    """What the console answers to a browser that comes back from the provider."""
    client = client or Client(headers=EN)
    away = client.get("/oidc/" + query)
    assert away.status_code == 302 and away.url.startswith(issuer.address)
    return client.get(issuer.answer(away.url, sub))


def test_the_first_sign_in_makes_an_account_that_sees_no_workspace(issuer):
    client = Client(headers=EN)
    response = sign_in(issuer, client=client)
    assert response.url == "/"
    jane = User.objects.get()
    assert (jane.username, jane.email, jane.get_full_name()) == ("jane", "jane@example.org", "Jane Doe")
    assert not jane.has_usable_password() and not jane.is_staff
    page = client.get("/")
    assert page.status_code == 200 and "not in any workspace yet" in page.text


def test_accounts_are_found_by_the_subject_and_by_nothing_else(issuer, alice):
    sign_in(issuer)
    issuer.knows("jane", email="other@example.org", preferred_username="alice")
    sign_in(issuer)
    assert User.objects.filter(socialaccount__uid="jane").get().username == "jane"
    issuer.knows("mallory", preferred_username="jane", email="jane@example.org", email_verified=True)
    sign_in(issuer, "mallory")
    assert User.objects.count() == 3  # alice, jane, and one of another name
    link = SocialAccount.objects.get(uid="mallory")
    assert link.user.username != "jane" and link.provider == issuer.address


def test_a_new_person_enters_the_workspace_that_the_operator_named_once(issuer, settings, workspace):
    settings.OIDC = replace(settings.OIDC, workspace=workspace.name, role="member")
    sign_in(issuer)
    membership = User.objects.get().memberships.get()
    assert (membership.workspace, membership.role) == (workspace, Role.MEMBER)
    membership.delete()
    sign_in(issuer)  # who was removed does not come back this way
    assert not User.objects.get().memberships.exists()


def test_a_workspace_that_is_not_there_is_told_in_the_log(issuer, settings, caplog):
    settings.OIDC = replace(settings.OIDC, workspace="Nowhere")
    assert sign_in(issuer).url == "/"
    assert "OIDC_WORKSPACE: no workspace is called 'Nowhere'" in caplog.text


def test_a_page_opens_that_was_asked_for_and_none_elsewhere(issuer):
    assert sign_in(issuer, query="?next=/models/").url == "/models/"
    assert sign_in(issuer, query="?next=https://elsewhere.example/").url == "/"


@pytest.mark.parametrize(
    ("allowed", "verified", "is_matched"),
    [(True, True, True), (True, False, False), (False, True, False)],
)
def test_an_account_is_matched_by_an_address_that_is_verified_and_allowed(
    issuer, settings, alice, allowed, verified, is_matched
):
    settings.OIDC = replace(settings.OIDC, matches_email=allowed)
    User.objects.filter(pk=alice.pk).update(email="Jane@example.org")
    issuer.knows("jane", email="jane@example.org", email_verified=verified)
    sign_in(issuer)
    assert SocialAccount.objects.filter(user=alice).exists() == is_matched
    alice.refresh_from_db()
    # A password that somebody else may have set does not outlive it.
    assert alice.has_usable_password() == (not is_matched)


def test_an_address_that_two_accounts_have_matches_none(issuer, settings, alice, bob):
    settings.OIDC = replace(settings.OIDC, matches_email=True)
    User.objects.update(email="jane@example.org")
    sign_in(issuer)
    assert SocialAccount.objects.get().user not in (alice, bob)


def test_nobody_gives_themselves_an_address_that_counts(issuer, settings, client_of, alice):
    settings.OIDC = replace(settings.OIDC, matches_email=True)
    client_of(alice).post(reverse("preferences"), {"email": "jane@example.org", "theme": "auto"})
    alice.refresh_from_db()
    assert alice.email == ""


@pytest.mark.parametrize("groups", [["staff", "admins"], "admins"])
def test_operators_are_who_is_in_the_group_every_time(issuer, settings, groups):
    settings.OIDC = replace(settings.OIDC, operators="admins")
    issuer.knows("jane", preferred_username="jane", groups=groups)
    client = Client(headers=EN)
    sign_in(issuer, client=client)
    assert client.get("/admin/").status_code == 200
    issuer.knows("jane", preferred_username="jane", groups=["staff"])
    sign_in(issuer)
    assert not User.objects.get().is_superuser
    assert client.get("/admin/", follow=True).status_code == 403


def test_groups_make_nobody_an_operator_unless_asked_for(issuer):
    issuer.knows("jane", preferred_username="jane", groups=["", "admins"])
    sign_in(issuer)
    assert not User.objects.get().is_staff


def test_an_account_that_is_switched_off_stays_out(issuer):
    sign_in(issuer)
    User.objects.update(is_active=False)
    response = sign_in(issuer)
    assert response.status_code == 403 and "switched off" in response.text
    assert "sessionid" not in response.cookies or not response.wsgi_request.user.is_authenticated


@pytest.mark.parametrize(
    ("language", "text"), [("en", "You did not allow it there"), ("zh-CN", "您未在对方页面授权")]
)
def test_who_says_no_there_is_told_so(issuer, language, text):
    client = Client(headers={"accept-language": language})
    away = client.get("/oidc/").url
    refused = issuer.answer(away, "jane", action="deny")
    # Providers send the state back with a refusal as well; this one forgets it.
    state = parse_qs(urlsplit(away).query)["state"][0]
    response = client.get(f"{refused}&state={state}")
    assert response.status_code == 403 and text in response.text
    assert not User.objects.exists()


def test_an_answer_of_another_session_is_refused(issuer):
    away = Client().get("/oidc/").url
    response = Client(headers=EN).get(issuer.answer(away, "jane"))
    assert response.status_code == 403 and "did not work" in response.text
    assert not User.objects.exists()


def test_the_secret_of_the_client_is_sent(issuer, settings):
    settings.OIDC = replace(settings.OIDC, client_secret="wrong")
    assert sign_in(issuer).status_code == 403
    assert not User.objects.exists()


def test_userinfo_of_somebody_else_is_refused(issuer):
    issuer.instead["/userinfo"] = {"sub": "mallory", "preferred_username": "mallory"}
    assert sign_in(issuer).status_code == 403
    assert not User.objects.exists()


def test_a_provider_that_calls_itself_otherwise_or_is_away_is_told(issuer, settings, caplog):
    issuer.instead["/.well-known/openid-configuration"] = {"issuer": "https://id.example.org"}
    assert Client(headers=EN).get("/oidc/").status_code == 502
    assert "calls itself 'https://id.example.org'" in caplog.text
    settings.OIDC = replace(settings.OIDC, address="http://127.0.0.1:9")
    response = Client(headers=EN).get("/oidc/")
    assert response.status_code == 502 and "Try again in a moment" in response.text


def test_the_sign_in_page_leads_there_with_a_link(issuer, client, settings):
    page = client.get(reverse("login") + "?next=/models/", headers=EN).text
    assert 'href="/oidc/?next=%2Fmodels%2F"' in page and "Sign in with Example ID" in page
    assert 'name="password"' in page
    settings.PASSWORD_SIGN_IN = False
    page = client.get(reverse("login"), headers=EN).text
    assert 'href="/oidc/"' in page and 'name="password"' not in page


def test_without_passwords_none_opens_anything(issuer, client, settings, alice):
    settings.PASSWORD_SIGN_IN = False
    settings.AUTHENTICATION_BACKENDS = [settings.AUTHENTICATION_BACKENDS[0], "console.sign_in.NoPasswords"]
    assert client.post(reverse("login"), {"username": "alice", "password": "password"}).status_code == 405
    assert not client.login(request=client.get("/login/").wsgi_request, username="alice", password="password")
    settings.OIDC = replace(settings.OIDC, operators="admins")
    issuer.knows("jane", preferred_username="jane", groups=["admins"])
    assert sign_in(issuer, client=client, query="?next=/admin/").url == "/admin/"
    assert client.get("/admin/").status_code == 200  # permissions are Django's own


def test_without_an_issuer_none_of_it_is_there(client, db):
    assert "oidc" not in client.get(reverse("login")).text
    for path in ("/oidc/", "/oidc/callback/", "/accounts/login/", "/accounts/signup/"):
        assert client.get(path).status_code == 404


def test_no_page_of_allauth_is_there_with_one(issuer, client):
    for path in ("/oidc/login/", "/oidc/signup/", "/accounts/login/", "/accounts/3rdparty/"):
        assert client.get(path).status_code == 404
    assert client.post("/oidc/").status_code == 405


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"OIDC_ISSUER": "http://id.example.org", "OIDC_CLIENT_ID": "x"}, "https://"),
        ({"OIDC_ISSUER": "https://id.example.org"}, "OIDC_CLIENT_ID"),
        ({"OIDC_ISSUER": "https://id.example.org", "OIDC_CLIENT_ID": "x", "OIDC_ROLE": "king"}, "OIDC_ROLE"),
    ],
)
def test_nonsense_stops_the_start(monkeypatch, variables, problem):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=problem):
        configuration.read()


def test_the_variables_are_read(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("s3cret\n")
    monkeypatch.setenv("OIDC_ISSUER", "https://id.example.org/realms/team/")
    monkeypatch.setenv("OIDC_CLIENT_ID", "jingtiao")
    monkeypatch.setenv("OIDC_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
    found = configuration.read()
    assert found == configuration.Issuer(
        "https://id.example.org/realms/team", "jingtiao", "s3cret", "id.example.org"
    )
