"""What a person reads in the page: the list, what is unread, and for how long all of it is kept."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone

from console.access import visible
from console.models import Delivery, Notification, Receipt, User

# The bell says "99+" beyond.
MOST_COUNTED = 100


def receipts(user: User) -> QuerySet[Receipt]:
    """The person's notifications, of every workspace that the person still belongs to, newest first."""
    found = visible(Receipt.objects.filter(user=user), user, "notification__workspace")
    return found.select_related("notification__workspace").order_by("-notification_id")


def unread_count(user: User) -> int:
    """How many are unread, up to MOST_COUNTED."""
    return receipts(user).filter(read_at=None)[:MOST_COUNTED].count()


def mark_read(found: QuerySet[Receipt]) -> int:
    """Marks those as read that are not; returns how many."""
    keys = list(found.filter(read_at=None).order_by().values_list("pk", flat=True))
    return Receipt.objects.filter(pk__in=keys).update(read_at=timezone.now())


def delete_old() -> int:
    """Deletes what is older than NOTIFICATIONS_KEEP_DAYS (0 keeps it for ever); returns how many notifications."""
    if not settings.NOTIFICATIONS_KEEP_DAYS:
        return 0
    before = timezone.now() - timedelta(days=settings.NOTIFICATIONS_KEEP_DAYS)
    Delivery.objects.filter(notification=None, created_at__lt=before).delete()
    deleted = Notification.objects.filter(created_at__lt=before).delete()[1]
    return deleted.get("console.Notification", 0)
