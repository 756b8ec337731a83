"""Writes an event down, once, with everything that is to be sent because of it.

Called in the transaction of the change that causes it: either both are there or neither. What is to be sent stands in
rows of its own, so that a killed process loses none (outbox.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import transaction

from console.afterwards import after_commit
from console.models import WRITING_ROLES, Membership, Role, User
from console.notifications.kinds import KINDS, Audience, Kind
from console.notifications.models import Channels, Delivery, Mail, Notification, Receipt, Webhook


def record(
    kind: str, workspace_id: int, key: str, data: Mapping[str, Any], person_id: int | None = None
) -> bool:
    """Records an event of a workspace; returns whether it is new.

    `key` names the event among those of its kind: a second call with it does nothing. `data` fills the texts of the
    kind (kinds.py), goes to webhooks as it is, and has to be JSON. `person_id` is who caused it.
    """
    with transaction.atomic():
        notification, is_new = Notification.objects.get_or_create(
            workspace_id=workspace_id, kind=kind, key=key, defaults={"data": dict(data)}
        )
        if is_new:
            _address(notification, _audience(KINDS[kind], workspace_id, person_id))
    return is_new


def _audience(kind: Kind, workspace_id: int, person_id: int | None) -> list[User]:
    """Who is told: members of the workspace, by whatever ways they want to hear of it."""
    members = Membership.objects.filter(workspace=workspace_id, user__is_active=True).select_related("user")
    found = list(members.order_by("pk"))
    if kind.to == Audience.WRITERS:
        return [item.user for item in found if item.role in WRITING_ROLES]
    owners = [item.user for item in found if item.role == Role.OWNER]
    if kind.to == Audience.OWNERS:
        return owners
    starter = [item.user for item in found if item.user_id == person_id] or owners
    follows = Channels.objects.filter(kind=kind.key, others=True, user__in=[item.user_id for item in found])
    followers = set(follows.values_list("user", flat=True))
    return starter + [item.user for item in found if item.user_id in followers and item.user not in starter]


def _address(notification: Notification, people: Iterable[User]) -> None:
    """Makes the rows of those who are told, by the ways that they have chosen, and wakes workers for them."""
    from console.tasks import deliver_webhook, send_mail

    kind = KINDS[notification.kind]
    chosen = {item.user_id: item for item in Channels.objects.filter(user__in=people, kind=kind.key)}
    receipts, mails = [], []
    for person in people:
        wanted = chosen.get(person.pk) or Channels(in_page=True, email=kind.email)
        if wanted.in_page:
            receipts.append(Receipt(notification=notification, user=person))
        if wanted.email and person.email and settings.MAIL_SERVER:
            mails.append(Mail(notification=notification, user=person))
    Receipt.objects.bulk_create(receipts)
    hooks = Webhook.objects.filter(
        workspace=notification.workspace_id, enabled=True, kinds__contains=kind.key
    )
    deliveries = [Delivery(notification=notification, webhook=hook) for hook in hooks]
    # The broker may be away for a moment; beat asks again.
    for mail in Mail.objects.bulk_create(mails):
        after_commit(send_mail.delay, mail.pk)
    for delivery in Delivery.objects.bulk_create(deliveries):
        after_commit(deliver_webhook.delay, delivery.pk)
