"""Members of a workspace through the own API: the rules of the page, with a key."""

import json

import pytest
from django.test import Client

from console import rate_limits
from console.models import Role, Scope, User

pytestmark = pytest.mark.django_db
PATH = "/api/v1/workspace/members"


@pytest.fixture
def call(settings, make_key):
    """Returns a function that calls the API with a new key of a person."""
    rate_limits._client(settings.REDIS_URL).flushdb()

    def go(user: User, method: str, path: str = "", body: object = None, scope: str | None = None):
        headers = {"Authorization": f"Bearer {make_key(user, scope).token}", "Accept-Language": "en"}
        data = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        return getattr(Client(), method)(PATH + path, **data, headers=headers)

    return go


def test_an_owner_adds_changes_and_removes(call, alice):
    User.objects.create_user("dora")
    added = call(alice, "post", body={"person": "dora", "role": "viewer"})
    assert (added.status_code, added.json()["role"]) == (201, "viewer") and added.json()["joined_at"]
    assert call(alice, "patch", "/dora", {"role": "member"}).json()["role"] == "member"
    assert [item["username"] for item in call(alice, "get").json()["items"]] == ["alice", "dora"]
    assert call(alice, "delete", "/dora").status_code == 204
    assert call(alice, "delete", "/dora").status_code == 404


def test_refusals_stand_at_their_field_or_as_a_conflict(call, alice):
    error = call(alice, "post", body={"person": "nobody", "role": "viewer"})
    assert (error.status_code, error.json()["error"]["fields"][0]["path"]) == (422, "person")
    wrong = call(alice, "post", body={"person": "nobody", "role": "king"}).json()["error"]["fields"][0]
    assert (wrong["path"], wrong["code"]) == ("role", "not_a_choice")
    assert call(alice, "patch", "/alice", {"role": "viewer"}).status_code == 409
    assert call(alice, "delete", "/alice").status_code == 409


def test_nobody_but_owners_with_the_scope_for_it(call, alice, bob, charlie):
    assert call(bob, "delete", "/alice").status_code == 403
    assert call(charlie, "delete", "/alice").status_code == 404
    assert call(alice, "delete", "/bob", scope=Scope.WRITE).status_code == 403
    bob.memberships.update(role=Role.MEMBER)
    assert call(bob, "patch", "/bob", {"role": "owner"}).status_code == 403
    assert call(bob, "delete", "/bob").status_code == 204  # who leaves needs no owner


def test_names_cannot_be_tried_out_without_end(call, alice):
    statuses = [call(alice, "post", body={"person": "x", "role": "viewer"}).status_code for _ in range(11)]
    assert statuses == [422] * 10 + [429]
