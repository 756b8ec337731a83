"""Notifications: recorded once, for whom they are meant, by the ways that each person chose; read in the page."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import override

from console.models import Channels, Mail, Membership, Notification, Receipt, Role, User, Workspace
from console.notifications import kinds, reading
from console.notifications.recording import record

LIST, BELL, SETTINGS = reverse("notifications"), reverse("bell"), reverse("notification_settings")
DATA = {"uid": "task-1", "run": "bot V1", "base_model": "Toy", "steps": 3}
# Something for every placeholder of every kind.
ALL = {
    "uid": "x-1",
    "run": "bot V1",
    "base_model": "Toy",
    "steps": 3,
    "step": 2,
    "count": 4,
    "used": 8,
    "limit": 10,
    "day": "2026-12-01",
    "runs": "bot V1",
    "webhook": "ops",
    "days": 3,
    "failure": {"code": "disk_full", "params": {}, "message": "?"},
    "note": {"code": "run_failed", "params": {}},
}


def tell(workspace, person=None, key="task-1", kind="run.done", data=DATA) -> bool:
    return record(kind, workspace.pk, key, data, person.pk if person else None)


def readers() -> set[str]:
    return set(Receipt.objects.values_list("user__username", flat=True))


@pytest.fixture
def dora(workspace) -> User:
    """A member who is no owner."""
    user = User.objects.create_user("dora", email="dora@example.com", password="password", language="en")
    Membership.objects.create(user=user, workspace=workspace, role=Role.MEMBER)
    return user


# --- Recording -----------------------------------------------------------------------------------------------


def test_an_event_is_recorded_once(workspace, alice):
    assert [tell(workspace, alice), tell(workspace, alice)] == [True, False]
    assert Notification.objects.count() == Receipt.objects.count() == 1
    assert tell(workspace, alice, key="task-2")


def test_a_change_that_is_taken_back_tells_nothing(workspace, alice):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        tell(workspace, alice)
        1 / 0  # noqa: B018
    assert not Notification.objects.exists()


def test_whoever_started_it_is_told_and_else_the_owners(workspace, alice, dora, bob):
    tell(workspace, dora)
    assert readers() == {"dora"}
    Membership.objects.filter(user=dora).delete()
    tell(workspace, dora, key="task-2")
    assert readers() == {"dora", "alice"}


def test_who_wants_to_is_told_of_the_runs_of_others(workspace, alice, dora, charlie):
    for person in (alice, charlie):
        Channels.objects.create(user=person, kind="run.done", in_page=True, email=False, others=True)
    tell(workspace, dora)
    assert readers() == {"dora", "alice"}
    tell(workspace, alice, key="task-2")
    assert alice.receipts.count() == 2 and dora.receipts.count() == 1


def test_limits_concern_everybody_who_may_start_runs(workspace, alice, dora, bob, charlie):
    tell(workspace, kind="budget.used", key="2026-11:10", data={"limit": 10, "day": "2026-12-01"})
    assert readers() == {"alice", "dora"}


def test_nobody_hears_by_a_way_that_was_switched_off(workspace, dora, settings):
    settings.MAIL_SERVER = {"host": "mail"}
    tell(workspace, dora)
    Channels.objects.create(user=dora, kind="run.done", in_page=False, email=True)
    tell(workspace, dora, key="task-2")
    Channels.objects.update(in_page=True, email=False)
    tell(workspace, dora, key="task-3")
    keys = [
        list(rows.values_list("notification__key", flat=True).order_by("pk"))
        for rows in (Receipt.objects, Mail.objects)
    ]
    assert keys == [["task-1", "task-3"], ["task-1", "task-2"]]


def test_without_a_mail_server_or_an_address_nothing_waits_to_be_sent(workspace, alice, dora, settings):
    tell(workspace, dora)
    settings.MAIL_SERVER = {"host": "mail"}
    tell(workspace, alice, key="task-2")
    assert not Mail.objects.exists()


@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("key", kinds.KINDS)
def test_every_kind_has_texts_and_a_page(key, language):
    with override(language):
        title, text = kinds.title_of(key, ALL), kinds.text_of(key, ALL)
    assert title and text and "%" not in title + text
    assert (title != str(kinds.KINDS[key].title)) or language == "en"
    assert kinds.path_of(
        key, ALL if "uid" in ALL and kinds.KINDS[key].page in ("jobs:run", "webhook") else {}
    )


def test_a_kind_that_is_gone_is_still_shown(workspace, alice, client_of):
    tell(workspace, alice)
    Notification.objects.update(kind="run.painted")
    assert "run.painted" in client_of(alice).get(LIST).text


# --- In the page ---------------------------------------------------------------------------------------------


def test_the_bell_counts_what_is_unread_and_answers_nothing_while_that_stays(workspace, alice, client_of):
    client = client_of(alice)
    assert client.get(BELL, {"n": 0}).status_code == 204
    tell(workspace, alice)
    assert "Notifications: 1 unread" in client.get(BELL, {"n": 0}).text
    assert "Notifications: 1 unread" in client.get(reverse("preferences")).text
    client.post(reverse("notifications_read"))
    assert client.get(BELL, {"n": 0}).status_code == 204


def test_the_bell_costs_little(workspace, alice, client_of, django_assert_max_num_queries):
    client = client_of(alice)
    for number in range(5):
        tell(workspace, alice, key=f"task-{number}")
    with django_assert_max_num_queries(3):  # session, person, count
        client.get(BELL, {"n": 5})


def test_opening_one_marks_it_read_and_leads_to_its_page(workspace, alice, bob, client_of):
    tell(workspace, alice)
    uid = Notification.objects.get().uid
    assert client_of(bob).get(reverse("notification", args=[uid])).status_code == 404
    assert client_of(alice).get(reverse("notification", args=[uid])).url == reverse(
        "jobs:run", args=["task-1"]
    )
    assert Receipt.objects.get().read_at


def test_the_list_is_filtered(workspace, alice, client_of):
    client = client_of(alice)
    tell(workspace, alice)
    client.post(reverse("notifications_read"))
    tell(workspace, alice, kind="run.failed", data={"uid": "task-1", "run": "bot V1", "failure": None})

    def shown(**asked) -> list[str]:
        return [row.notification.kind for row in client.get(LIST, asked).context["rows"]]

    assert shown() == ["run.failed", "run.done"]
    assert shown(show="unread") == ["run.failed"] and shown(kind="run.done") == ["run.done"]
    assert shown(kind="nonsense", after="x") == ["run.failed", "run.done"]


def test_pages_of_the_list_cost_the_same_and_miss_nothing(
    workspace, alice, client_of, django_assert_max_num_queries
):
    for number in range(70):
        tell(workspace, alice, key=f"task-{number}")
    client, seen, after = client_of(alice), [], ""
    while after is not None:
        with django_assert_max_num_queries(7):
            answer = client.get(LIST, {"after": after})
        seen += [row.notification.key for row in answer.context["rows"]]
        after = answer.context["next"]
    assert seen == [f"task-{number}" for number in range(69, -1, -1)]


def test_one_or_all_are_marked_as_read(workspace, alice, client_of):
    client = client_of(alice)
    for number in range(3):
        tell(workspace, alice, key=f"task-{number}")
    client.post(reverse("notifications_read"), {"uid": Notification.objects.last().uid})
    assert reading.unread_count(alice) == 2
    assert client.post(reverse("notifications_read"), {"show": "unread"}).url == LIST + "?show=unread"
    assert reading.unread_count(alice) == 0


def test_who_leaves_a_workspace_reads_nothing_of_it(workspace, dora, client_of):
    tell(workspace, dora)
    Membership.objects.filter(user=dora).delete()
    Membership.objects.create(user=dora, workspace=Workspace.objects.create(name="Other"))
    assert not client_of(dora).get(LIST).context["rows"] and not reading.unread_count(dora)


def test_a_person_chooses_the_ways(alice, client_of):
    client = client_of(alice)
    assert (
        client.post(
            SETTINGS, {"in_page-run.done": "on", "email-budget.low": "on", "others-run.failed": "on"}
        ).status_code
        == 302
    )
    chosen = {item.kind: (item.in_page, item.email) for item in Channels.objects.filter(user=alice)}
    assert chosen.pop("run.done") == (True, False) and chosen.pop("budget.low") == (False, True)
    assert set(chosen.values()) == {(False, False)}
    assert [item.kind for item in Channels.objects.filter(others=True)] == ["run.failed"]
    assert client.get(SETTINGS).text.count("checked") == 3


def test_old_ones_are_deleted(workspace, alice, settings):
    tell(workspace, alice)
    tell(workspace, alice, key="task-2")
    settings.NOTIFICATIONS_KEEP_DAYS = 0
    assert reading.delete_old() == 0
    settings.NOTIFICATIONS_KEEP_DAYS = 90
    Notification.objects.filter(key="task-1").update(created_at=timezone.now() - timedelta(days=91))
    assert reading.delete_old() == 1
    assert Receipt.objects.get().notification.key == "task-2"


@pytest.mark.parametrize(
    "address", [LIST, BELL, SETTINGS, reverse("notification", args=["msg-1"]), reverse("webhooks")]
)
def test_visitors_sign_in_first(client, db, address):
    assert client.get(address).status_code == 302
