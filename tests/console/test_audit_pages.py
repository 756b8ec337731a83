"""The page of the audit log: who reads it, what a filter leaves, pages and files."""

import json

import pytest
from django.urls import reverse
from django.utils import timezone

from console.models import ApiKey, AuditEntry, Membership, Role
from jobs.models import Job

PAGE = reverse("audit")
CSV, JSONL = (reverse("audit_file", args=[ending]) for ending in ("csv", "jsonl"))
HTMX = {"headers": {"hx-request": "true"}}


@pytest.fixture
def changes(client_of, alice, bob, workspace):
    """Alice made a key in the page; a role was changed by nobody who is known."""
    client_of(alice).post(reverse("api_key_create"), {"name": "nightly", "scope": "read"})
    membership = Membership.objects.get(user=bob)
    membership.role = Role.MEMBER
    membership.save()


def names(answer) -> list[str]:
    return [row["entry"].object_repr.partition(" (")[0] for row in answer.context["rows"]]


def test_owner_reads_who_did_what_from_where(client_of, alice, changes):
    text = client_of(alice).get(PAGE).text
    assert "nightly" in text and "alice" in text and "127.0.0.1" in text
    assert "<del" in text and "viewer" in text, "the old role"


@pytest.mark.parametrize(
    ("asked", "left"),
    [
        ({"person": "alice"}, {"nightly"}),
        ({"kind": "console.ApiKey"}, {"nightly"}),
        ({"q": "NIGHT"}, {"nightly"}),
        ({"action": "create", "kind": "console.ApiKey"}, {"nightly"}),
        ({"action": "delete"}, set()),
        ({"until": "2020-01-01"}, set()),
        ({"since": "2020-01-01", "until": "2999-12-31", "person": "alice"}, {"nightly"}),
        ({"since": "31/31/31", "kind": "auth.Secret", "action": "x", "person": "alice"}, {"nightly"}),
    ],
)
def test_filters(client_of, alice, changes, asked, left):
    assert set(names(client_of(alice).get(PAGE, asked, **HTMX))) == left


def test_pages_neither_miss_nor_repeat_what_happened_at_the_same_moment(client_of, alice, workspace):
    for number in range(120):
        Job.objects.create(workspace=workspace, name=f"job {number}", model_type="text2text")
    AuditEntry.objects.update(timestamp=timezone.now())
    client, seen, address = client_of(alice), [], PAGE + "?kind=jobs.Job"
    while address:
        answer = client.get(address)
        seen += names(answer)
        cursor = answer.context["next"]
        address = f"{PAGE}?kind=jobs.Job&after={cursor}" if cursor else ""
    assert sorted(seen) == sorted(f"job {number}" for number in range(120))


def test_a_page_costs_the_same_however_long_it_is(client_of, alice, workspace, django_assert_max_num_queries):
    for number in range(60):
        Job.objects.create(workspace=workspace, name=f"job {number}", model_type="text2text")
    client = client_of(alice)
    client.get(PAGE)
    with django_assert_max_num_queries(6):
        client.get(PAGE)


def test_files_hold_every_entry_that_fits_and_no_formula(client_of, alice, workspace, changes):
    Job.objects.create(workspace=workspace, name="=HYPERLINK(1)", model_type="text2text")
    client = client_of(alice)
    lines = [json.loads(line) for line in b"".join(client.get(JSONL).streaming_content).splitlines()]
    assert len(lines) == AuditEntry.objects.filter(workspace=workspace).count()
    key = next(line for line in lines if line["kind"] == "console.apikey")
    assert (key["person"], key["action"]) == ("alice", "create") and key["object"].startswith("nightly")
    table = b"".join(client.get(CSV, {"kind": "jobs.Job"}).streaming_content).decode()
    assert "'=HYPERLINK(1)" in table and "nightly" not in table


def test_only_owners_of_the_workspace_read_it(client_of, alice, bob, charlie, client, changes):
    for address in (PAGE, CSV, JSONL):
        assert client_of(bob).get(address).status_code == 403
        assert client_of(alice).post(address).status_code == 405
        assert client.get(address).status_code == 302
    Membership.objects.filter(user=charlie).update(role=Role.OWNER)
    assert "nightly" not in client_of(charlie).get(PAGE).text
    assert reverse("audit") not in client_of(bob).get(reverse("preferences")).text


def test_an_entry_of_a_model_that_is_gone_is_still_shown(client_of, alice, changes):
    AuditEntry.objects.filter(content_type__model="apikey").update(changes={"colour": ["red", "blue"]})
    assert "colour" in client_of(alice).get(PAGE).text
    assert ApiKey.objects.exists()
