"""Celery entry points of the console itself."""

from typing import Any

from celery import shared_task

from console import audit, deletion
from console.models import Delivery, Mail
from console.notifications import mails, outbox, reading, webhooks

# Wake-ups that a busy worker has not come to by then are sent again by the next round.
WAKE_SECONDS = 55


@shared_task
def remove_files(deletion_id: int) -> None:
    """Removes the files of something that was deleted."""
    deletion.remove_files(deletion_id)


@shared_task
def resume_deletions() -> None:
    """Removes files that a lost message or a dead worker left behind (beat)."""
    for deletion_id in deletion.waiting():
        deletion.remove_files(deletion_id)


@shared_task
def delete_old_audit_entries() -> None:
    """Deletes audit entries that have been kept for as long as the operator wants (beat)."""
    audit.delete_old()


@shared_task(bind=True, **outbox.AGAIN)
def send_mail(self: Any, mail_id: int) -> None:
    """Sends a notification by e-mail. The number of retries says which attempt this is."""
    outbox.attempt(Mail, mail_id, self.request.retries, mails.send)


@shared_task(bind=True, **outbox.AGAIN)
def deliver_webhook(self: Any, delivery_id: int) -> None:
    """Sends an event to a webhook. The number of retries says which attempt this is."""
    outbox.attempt(Delivery, delivery_id, self.request.retries, webhooks.deliver)


@shared_task
def send_due() -> None:
    """Wakes workers for what a lost message or a dead worker left unsent (beat)."""
    for rows, task in ((Mail, send_mail), (Delivery, deliver_webhook)):
        for pk, attempts in outbox.due(rows):
            task.apply_async((pk,), retries=attempts, expires=WAKE_SECONDS)


@shared_task
def delete_old_notifications() -> None:
    """Deletes notifications and deliveries that have been kept for as long as the operator wants (beat)."""
    reading.delete_old()
