"""Members of a workspace: who sees them, who changes them, and that the last owner stays."""

import threading
import time

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.urls import reverse

from console import members, rate_limits
from console.api import keys
from console.models import ApiKey, AuditEntry, Membership, Role, Scope, User
from jobs.models import Run, RunState
from tests.jobs.conftest import base_model, make_run  # noqa: F401  (fixtures)

PAGE, ADD = reverse("members"), reverse("member_add")


def role_at(membership: Membership) -> str:
    return reverse("member_role", args=[membership.pk])


def remove_at(membership: Membership) -> str:
    return reverse("member_remove", args=[membership.pk])


@pytest.fixture(autouse=True)
def no_lookups_yet(settings):
    rate_limits._client(settings.REDIS_URL).flushdb()


@pytest.fixture
def dora(db) -> User:
    """Has an account and is nowhere."""
    return User.objects.create_user("dora", email="Dora@example.org", password="password", language="en")


def test_everybody_sees_who_is_in_it_and_owners_alone_may_change(client_of, alice, bob):
    for reader, buttons in ((alice, True), (bob, False)):
        page = client_of(reader).get(PAGE).text
        assert "alice" in page and "Owner" in page and "bob" in page
        assert (ADD in page, role_at(bob.memberships.get()) in page) == (buttons, buttons)
        assert remove_at(reader.memberships.get()) in page  # to leave


@pytest.mark.parametrize("name", ["dora", "dora@EXAMPLE.org"])
def test_a_person_is_added_by_name_or_address(client_of, alice, workspace, dora, name):
    assert client_of(alice).post(ADD, {"person": name, "role": "viewer"}).url == PAGE
    membership = dora.memberships.get()
    assert (membership.workspace, membership.role) == (workspace, Role.VIEWER)
    assert membership.joined_at
    entry = AuditEntry.objects.filter(content_type__model="membership").latest("pk")
    assert (entry.actor, entry.workspace_id) == (alice, workspace.pk)


@pytest.mark.parametrize("name", ["nobody", "dor", "DORA", "gone", "two@example.org", "a\0b"])
def test_who_cannot_be_named_is_refused_in_the_same_words(client_of, alice, dora, name):
    User.objects.create_user("gone", is_active=False)
    for user in ("x", "y"):
        User.objects.create_user(user, email="two@example.org")
    response = client_of(alice).post(ADD, {"person": name, "role": "member"})
    assert response.status_code == 422
    if "\0" not in name:  # the field refuses those itself
        text = "No account has exactly this user name or e-mail address."
        assert response.context["form"].errors["person"] == [text]
        assert f'value="{name}"' in response.text


def test_names_cannot_be_tried_out_without_end(client_of, alice, dora):
    client = client_of(alice)
    for number in range(members.LOOKUPS_A_MINUTE):
        client.post(ADD, {"person": f"guess-{number}", "role": "viewer"})
    response = client.post(ADD, {"person": "dora", "role": "viewer"})
    assert "Too many attempts" in response.text and not dora.memberships.exists()


def test_somebody_who_is_in_it_keeps_the_role(client_of, alice, bob):
    response = client_of(alice).post(ADD, {"person": "bob", "role": "owner"})
    assert "in the workspace already" in response.text
    assert bob.memberships.get().role == Role.VIEWER


def test_only_owners_change_anything(client_of, alice, bob, charlie, dora):
    own, other = bob.memberships.get(), alice.memberships.get()
    for client, refused in ((client_of(bob), 403), (client_of(charlie), 404)):
        assert client.post(role_at(own), {"role": "owner"}).status_code in (403, refused)
        assert client.post(remove_at(other)).status_code == refused
    assert client_of(bob).post(ADD, {"person": "dora", "role": "viewer"}).status_code == 403
    assert bob.memberships.get().role == Role.VIEWER and alice.memberships.exists()


@pytest.mark.parametrize("address", [ADD, "/members/1/role/", "/members/1/remove/"])
def test_changes_are_posted(client_of, alice, address):
    assert client_of(alice).get(address).status_code == 405


def test_a_role_is_changed_and_nonsense_is_told(client_of, alice, bob):
    client, membership = client_of(alice), bob.memberships.get()
    client.post(role_at(membership), {"role": "member"})
    assert bob.memberships.get().role == Role.MEMBER
    assert "Choose one of the roles" in client.post(role_at(membership), {"role": "king"}).text


def test_the_last_owner_neither_leaves_nor_loses_the_role(client_of, alice, bob):
    client, own = client_of(alice), alice.memberships.get()
    for response in (client.post(role_at(own), {"role": "member"}), client.post(remove_at(own))):
        assert response.status_code == 422
        assert "A workspace needs an owner" in response.text
    members.change_role(bob.memberships.get(), alice, Role.OWNER)
    User.objects.filter(pk=bob.pk).update(is_active=False)  # who cannot sign in does not count
    assert client.post(remove_at(own)).status_code == 422
    User.objects.filter(pk=bob.pk).update(is_active=True)
    assert client.post(remove_at(own)).status_code == 302
    assert not alice.memberships.exists()


def test_whoever_left_is_told_whom_to_ask(client_of, alice, bob):
    client = client_of(bob)
    page = client.post(remove_at(bob.memberships.get()), follow=True)
    assert page.status_code == 200
    assert "not in any workspace yet" in page.text and "bob" in page.text
    elsewhere = client.get(reverse("datasets:list"))
    assert elsewhere.status_code == 404 and "not in any workspace yet" in elsewhere.text
    assert client.get(reverse("preferences")).status_code == 200


def test_keys_lose_at_once_what_their_person_loses(client_of, alice, bob, workspace):
    members.change_role(bob.memberships.get(), alice, Role.MEMBER)
    _key, made = keys.issue(bob, workspace, "nightly", Scope.ADMIN)
    assert keys.caller_by_token(made.token).may(Scope.WRITE)
    members.change_role(bob.memberships.get(), alice, Role.VIEWER)
    assert not keys.caller_by_token(made.token).may(Scope.WRITE)
    members.remove(bob.memberships.get(), alice)
    assert keys.caller_by_token(made.token) is None and keys.caller_by_access_key(made.access_key) is None
    members.add(workspace, alice, "bob", Role.MEMBER)
    assert keys.caller_by_token(made.token) is None  # not back to life with the person
    assert ApiKey.objects.get().revoked_at


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_remove_each_other_at_once_leave_one(alice, bob, workspace, monkeypatch):
    """The second of them is no owner any more when its turn comes."""
    check = members._keep_an_owner
    # Long enough for the other one to look as well, if nothing held it back.
    monkeypatch.setattr(members, "_keep_an_owner", lambda item: (check(item), time.sleep(0.3)))
    Membership.objects.filter(user=bob).update(role=Role.OWNER)
    of_alice, of_bob = alice.memberships.get(), bob.memberships.get()
    refusals, together = [], threading.Barrier(2)

    def go(membership: Membership, actor: User) -> None:
        together.wait()
        try:
            members.remove(membership, actor)
        except PermissionDenied as refusal:
            refusals.append(refusal)
        finally:
            connection.close()

    threads = [threading.Thread(target=go, args=pair) for pair in ((of_bob, alice), (of_alice, bob))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refusals) == 1
    assert Membership.objects.filter(workspace=workspace, role=Role.OWNER).count() == 1


def test_the_page_asks_the_same_number_of_queries_for_any_number_of_people(
    client_of, alice, workspace, django_assert_max_num_queries
):
    for number in range(5):
        user = User.objects.create_user(f"person-{number}")
        Membership.objects.create(user=user, workspace=workspace)
    client = client_of(alice)
    with django_assert_max_num_queries(5):
        assert "person-4" in client.get(PAGE).text


def test_runs_of_somebody_who_was_removed_go_on(alice, bob, make_run):  # noqa: F811
    run = make_run(RunState.RUNNING)
    Run.objects.filter(pk=run.pk).update(created_by=bob)
    members.remove(bob.memberships.get(), alice)
    run.refresh_from_db()
    assert (run.state, run.stop_requested_at, run.created_by) == (RunState.RUNNING, None, bob)
