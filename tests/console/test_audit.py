"""The audit log: what is recorded of whom, and who may read it."""

from django.urls import reverse

from console.models import AuditEntry, Membership, Role, User, Workspace


def entries(model: str) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(content_type__model=model).order_by("pk"))


def test_a_role_is_recorded_with_old_and_new(alice, workspace, bob):
    membership = Membership.objects.get(user=bob)
    membership.role = Role.MEMBER
    membership.save()
    entry = entries("membership")[-1]
    assert entry.changes == {"role": ["viewer", "member"]}
    assert entry.workspace_id == workspace.pk


def test_the_person_and_the_address_are_recorded(client_of, alice):
    client_of(alice).post(reverse("api_key_create"), {"name": "nightly", "scope": "read"})
    entry = entries("apikey")[-1]
    assert (entry.actor, entry.actor_name, entry.remote_addr) == (alice, "alice", "127.0.0.1")


def test_secrets_of_a_key_are_in_no_entry(client_of, alice):
    response = client_of(alice).post(reverse("api_key_create"), {"name": "nightly", "scope": "read"})
    made = response.context["made"]
    key = alice.api_keys.get()
    [entry] = entries("apikey")
    text = f"{entry.changes}{entry.object_repr}{entry.additional_data}{entry.serialized_data}"
    for secret in (made.secret_key, made.token, made.access_key, key.secret, key.token_hash):
        assert secret not in text


def test_a_revoked_key_is_recorded(client_of, alice):
    client_of(alice).post(reverse("api_key_create"), {"name": "nightly", "scope": "read"})
    client_of(alice).post(reverse("api_key_revoke", args=[alice.api_keys.get().pk]))
    assert list(entries("apikey")[-1].changes) == ["revoked_at"]


def test_a_password_is_recorded_as_changed_and_no_more(alice):
    alice.set_password("correct horse battery staple")
    alice.save()
    assert entries("user")[-1].changes == {"password": ["•••", "•••"]}


def test_signing_in_is_no_change(client, alice):
    before = AuditEntry.objects.count()
    client.post(reverse("login"), {"username": "alice", "password": "password"})
    assert AuditEntry.objects.count() == before


def test_the_log_outlives_workspace_and_person(alice, workspace):
    pk = workspace.pk
    workspace.delete()
    User.objects.get(pk=alice.pk).delete()
    [gone] = AuditEntry.objects.filter(
        workspace_id=pk, action=AuditEntry.Action.DELETE, content_type__model="workspace"
    )
    assert gone.object_repr == "Vision and Language"


def test_an_address_in_a_header_counts_behind_a_proxy_alone(rf, settings):
    from console.audit import address_of

    request = rf.get("/", headers={"X-Forwarded-For": "6.6.6.6, 203.0.113.9"})
    assert address_of(request) == "127.0.0.1"
    settings.BEHIND_PROXY = True
    assert address_of(request) == "203.0.113.9"
    assert address_of(rf.get("/", headers={"X-Forwarded-For": "nonsense"})) is None


def test_a_worker_records_nothing(workspace):
    from console.celery import app

    @app.task
    def rename() -> None:
        workspace.name = "Renamed"
        workspace.save()

    before = AuditEntry.objects.count()
    rename.apply()
    assert Workspace.objects.get().name == "Renamed"
    assert AuditEntry.objects.count() == before
