"""Notifications and webhooks as operators see them: what was told, and what did not arrive. They change neither."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from console.models import Delivery, Mail, Notification, Webhook
from console.notifications.kinds import KINDS
from console.notifications.outbox import problem_text
from console.read_only import ReadOnlyAdmin


class _KindAdmin(ReadOnlyAdmin):
    """Names the kind for people."""

    @admin.display(description=_("kind"), ordering="kind")
    def kind_label(self, item: Any) -> str:
        kind = KINDS.get(item.kind)
        return str(kind.label) if kind else item.kind


@admin.register(Notification)
class NotificationAdmin(_KindAdmin):
    list_display = ("created_at", "workspace", "kind_label", "title")
    list_filter = (("workspace", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("workspace",)
    show_full_result_count = False
    fields = ("created_at", "workspace", "kind_label", "title", "text", "data")
    readonly_fields = fields

    @admin.display(description=_("title"))
    def title(self, item: Notification) -> str:
        return item.title

    @admin.display(description=_("text"))
    def text(self, item: Notification) -> str:
        return item.text


class _OutgoingAdmin(ReadOnlyAdmin):
    show_full_result_count = False

    @admin.display(description=_("problem"))
    def what_went_wrong(self, item: Any) -> str:
        return problem_text(item.problem) or "–"


@admin.register(Mail)
class MailAdmin(_OutgoingAdmin):
    list_display = ("created_at", "user", "notification", "state", "attempts", "due_at", "what_went_wrong")
    list_filter = ("state",)
    list_select_related = ("user", "notification__workspace")
    fields = readonly_fields = (*list_display, "ended_at")


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    list_display = ("name", "workspace", "host", "enabled", "failing_since", "given_up_at", "created_at")
    list_filter = ("enabled",)
    list_select_related = ("workspace",)
    # Their addresses may hold secrets of the workspace.
    fields = readonly_fields = (*list_display, "kinds")

    @admin.display(description=_("server"))
    def host(self, item: Webhook) -> str:
        return item.host


@admin.register(Delivery)
class DeliveryAdmin(_OutgoingAdmin):
    list_display = ("created_at", "webhook", "notification", "state", "attempts", "due_at", "what_went_wrong")
    list_filter = ("state",)
    list_select_related = ("webhook", "notification__workspace")
    fields = readonly_fields = (*list_display, "ended_at")
