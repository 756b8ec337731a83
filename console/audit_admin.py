"""The whole audit log for operators, to read: also what belongs to no workspace."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from console.audit_pages import action_of, changes_of, kind_of
from console.models import AuditEntry

# django-auditlog's own page names kinds and fields as the program does, and belongs to no workspace.
admin.site.unregister(AuditEntry)


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin):
    list_display = (
        "timestamp",
        "workspace",
        "actor_name",
        "key_name",
        "what_was_done",
        "kind",
        "object_repr",
    )
    list_filter = ("action", ("workspace", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("content_type", "workspace")
    search_fields = ("object_repr", "actor_name")
    show_full_result_count = False
    fields = readonly_fields = (
        *("timestamp", "workspace", "actor_name", "key_name", "remote_addr"),
        *("what_was_done", "kind", "object_repr", "what_changed"),
    )

    @admin.display(description=_("action"))
    def what_was_done(self, entry: AuditEntry) -> str:
        return action_of(entry)

    @admin.display(description=_("kind"))
    def kind(self, entry: AuditEntry) -> str:
        return kind_of(entry)

    @admin.display(description=_("changes"))
    def what_changed(self, entry: AuditEntry) -> SafeString:
        rows = ((change.field, change.old, change.new) for change in changes_of(entry))
        return format_html_join("", "<div>{}: {} → {}</div>", rows)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        return False
