"""The tables of what is told. Texts are not kept: kinds.py makes them from `data` for each reader."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from console.models import User, Workspace, make_uid
from console.notifications import kinds


class Notification(models.Model):
    """Something happened in a workspace. `key` tells it from others of its kind, so that it is recorded once."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "msg")
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="notifications"
    )
    kind = models.CharField(_("kind"), max_length=30)
    key = models.CharField(_("key of the event"), max_length=100)
    # What the texts are filled with, and what webhooks carry.
    data: Any = models.JSONField(_("details"), default=dict)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True, db_index=True)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(fields=("workspace", "kind", "key"), name="notification_once_an_event"),
        )
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")

    def __str__(self) -> str:
        return self.title

    @property
    def title(self) -> str:
        return kinds.title_of(self.kind, self.data)

    @property
    def text(self) -> str:
        return kinds.text_of(self.kind, self.data)

    @property
    def path(self) -> str:
        return kinds.path_of(self.kind, self.data)

    @property
    def tone(self) -> str:
        kind = kinds.KINDS.get(self.kind)
        return kind.tone if kind else "info"


class Receipt(models.Model):
    """A notification as one person has it in the page."""

    notification = models.ForeignKey(
        Notification, verbose_name=_("notification"), on_delete=models.CASCADE, related_name="receipts"
    )
    user = models.ForeignKey(
        User, verbose_name=_("person"), on_delete=models.CASCADE, related_name="receipts"
    )
    read_at = models.DateTimeField(_("read at"), null=True, blank=True)

    class Meta:
        ordering = ("-notification",)
        constraints = (
            models.UniqueConstraint(fields=("user", "notification"), name="receipt_once_a_person"),
        )
        indexes = (models.Index(fields=("user",), name="unread_receipts", condition=models.Q(read_at=None)),)
        verbose_name = _("notification of a person")
        verbose_name_plural = _("notifications of people")

    def __str__(self) -> str:
        return f"{self.user}: {self.notification}"


class Channels(models.Model):
    """By which ways a person wants to hear of a kind; without a row, those of the kind."""

    user = models.ForeignKey(
        User, verbose_name=_("person"), on_delete=models.CASCADE, related_name="channels"
    )
    kind = models.CharField(_("kind"), max_length=30)
    in_page = models.BooleanField(_("in the page"), default=True)
    email = models.BooleanField(_("by e-mail"), default=True)
    # Also of what others of the workspaces started, where a kind goes to whoever did.
    others = models.BooleanField(_("runs of others too"), default=False)

    class Meta:
        ordering = ("user", "kind")
        constraints = (models.UniqueConstraint(fields=("user", "kind"), name="channels_once_a_kind"),)
        verbose_name = _("channels of a person")
        verbose_name_plural = _("channels of people")

    def __str__(self) -> str:
        return f"{self.user}: {self.kind}"


class State(models.TextChoices):
    WAITING = "Waiting", _("Waiting")
    SENT = "Done", _("Delivered")
    FAILED = "Failed", _("Failed")


class Outgoing(models.Model):
    """Something to be sent. Its row is the truth, a Celery message only wakes a worker (outbox.py)."""

    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveIntegerField(_("attempts"), default=0)
    # When the next attempt is due; while one is under way, when it has to be over.
    due_at = models.DateTimeField(_("next attempt"), null=True, default=timezone.now)
    # {"code", "params"} of the last attempt that failed; outbox.py has the texts.
    problem: Any = models.JSONField(_("problem"), null=True, blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)

    class Meta:
        abstract = True

    @property
    def is_waiting(self) -> bool:
        return self.state == State.WAITING


class Mail(Outgoing):
    """A notification by e-mail to one person."""

    notification = models.ForeignKey(
        Notification, verbose_name=_("notification"), on_delete=models.CASCADE, related_name="mails"
    )
    user = models.ForeignKey(User, verbose_name=_("person"), on_delete=models.CASCADE, related_name="+")

    class Meta:
        ordering = ("-pk",)
        constraints = (models.UniqueConstraint(fields=("notification", "user"), name="mail_once_a_person"),)
        indexes = (
            models.Index(fields=("due_at",), name="due_mails", condition=models.Q(state=State.WAITING)),
        )
        verbose_name = _("e-mail")
        verbose_name_plural = _("e-mails")

    def __str__(self) -> str:
        return f"{self.user}: {self.notification}"


class Webhook(models.Model):
    """An address of a workspace's own that its events are sent to (Standard Webhooks)."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "wh")
    )
    workspace = models.ForeignKey(
        Workspace, verbose_name=_("workspace"), on_delete=models.CASCADE, related_name="webhooks"
    )
    name = models.CharField(_("name"), max_length=50)
    url = models.CharField(_("address"), max_length=500)
    # Keys of kinds.
    kinds: Any = models.JSONField(_("what is sent"), default=list)
    enabled = models.BooleanField(_("switched on"), default=True)
    # Encrypted (console/secrets.py); 32 random bytes as whsec_…
    secret = models.TextField(_("encrypted secret"), editable=False)
    # Since when every attempt has failed; empty after one that did not.
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    # When the console switched it off by itself.
    given_up_at = models.DateTimeField(_("given up at"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        ordering = ("name", "pk")
        constraints = (
            models.UniqueConstraint(
                fields=("workspace", "name"),
                name="webhook_name_once_a_workspace",
                violation_error_message=_("This workspace already has a webhook of that name."),
            ),
        )
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")

    def __str__(self) -> str:
        return self.name

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


class Delivery(Outgoing):
    """A notification on its way to a webhook; one without a notification is a test."""

    uid = models.CharField(
        _("identifier"), max_length=20, unique=True, editable=False, default=partial(make_uid, "dl")
    )
    webhook = models.ForeignKey(
        Webhook, verbose_name=_("webhook"), on_delete=models.CASCADE, related_name="deliveries"
    )
    notification = models.ForeignKey(
        Notification,
        verbose_name=_("notification"),
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="deliveries",
    )
    # Every attempt: [{"at", "status", "seconds", "answer", "code"}], the newest last.
    log: Any = models.JSONField(_("attempts"), default=list)

    class Meta:
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(fields=("webhook", "notification"), name="delivery_once_a_webhook"),
        )
        indexes = (
            models.Index(fields=("due_at",), name="due_deliveries", condition=models.Q(state=State.WAITING)),
        )
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")

    def __str__(self) -> str:
        return f"{self.webhook}: {self.notification or _('Test')}"

    @property
    def is_test(self) -> bool:
        return self.notification_id is None
