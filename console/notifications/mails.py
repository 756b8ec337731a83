"""Notifications by e-mail, in the language of whoever gets them, as text and as a little HTML."""

from __future__ import annotations

import smtplib
from email.utils import parseaddr

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import translation

from console.models import Membership
from console.notifications.models import Mail, Receipt
from console.notifications.outbox import Undelivered


def send(mail: Mail) -> None:
    """One attempt; raises Undelivered. For `outbox.attempt`."""
    person = mail.user
    is_member = Membership.objects.filter(user=person, workspace=mail.notification.workspace).exists()
    if not person.email or not person.is_active or not is_member:
        raise Undelivered("no_reader", is_lasting=True)
    with translation.override(person.language or settings.LANGUAGE_CODE):
        message = compose(mail)
    try:
        message.send()
    except smtplib.SMTPRecipientsRefused as error:
        code, answer = next(iter(error.recipients.values()))
        raise _refused(code, answer) from error
    except smtplib.SMTPResponseException as error:
        raise _refused(error.smtp_code, error.smtp_error) from error
    except (smtplib.SMTPException, OSError) as error:
        raise Undelivered("unreachable", reason=str(error)[:200] or type(error).__name__) from error


def _refused(code: int, answer: bytes | str) -> Undelivered:
    """What a server says to one mail; 5xx is for good (RFC 5321), unless it is about signing in."""
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    is_lasting = 500 <= code < 600 and code not in (530, 534, 535, 538)
    return Undelivered("refused_by_server", is_lasting=is_lasting, answer=f"{code} {text}"[:200])


def compose(mail: Mail) -> EmailMultiAlternatives:
    """The message, in the language in force."""
    notification = mail.notification
    # Where it is in the page too, the link marks it read there.
    in_page = Receipt.objects.filter(notification=notification, user=mail.user).exists()
    path = reverse("notification", args=[notification.uid]) if in_page else notification.path
    context = {
        "notification": notification,
        "url": settings.PUBLIC_URL + path,
        "settings_url": settings.PUBLIC_URL + reverse("notification_settings"),
    }
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    message = EmailMultiAlternatives(
        subject=" ".join(f"[{notification.workspace.name}] {notification.title}".split()),
        body=render_to_string("console/notifications/mail.txt", context),
        to=[mail.user.email],
        headers={
            # The same whenever it is sent: after a kill between sending and saving it is one mail for the reader.
            "Message-ID": f"<{notification.uid}.{mail.user_id}@{domain}>",
            # RFC 3834: nobody's holiday notice answers it.
            "Auto-Submitted": "auto-generated",
        },
    )
    message.attach_alternative(render_to_string("console/notifications/mail.html", context), "text/html")
    return message
