"""The table of the audit log: django-auditlog's entry, with the workspace in whose log it stands."""

from __future__ import annotations

from typing import Any

from auditlog.models import AbstractLogEntry, LogEntryManager
from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from console import audit


class AuditEntryManager(LogEntryManager):  # type: ignore[misc]
    """Adds the workspace to what django-auditlog writes."""

    def log_create(self, instance: models.Model, force_log: bool = False, **kwargs: Any) -> Any:
        kwargs.setdefault("workspace_id", audit.workspace_of(instance))
        return super().log_create(instance, force_log, **kwargs)

    def log_m2m_changes(
        self, changed_queryset: Any, instance: models.Model, operation: str, field_name: str, **kwargs: Any
    ) -> Any:
        kwargs.setdefault("workspace_id", audit.workspace_of(instance))
        return super().log_m2m_changes(changed_queryset, instance, operation, field_name, **kwargs)


class AuditEntry(AbstractLogEntry):  # type: ignore[misc]
    """Somebody changed something. It outlives the person, the object and the workspace, whose names it keeps."""

    # No constraints in the database: nothing is written here when one of the two goes.
    workspace = models.ForeignKey(
        "console.Workspace",
        verbose_name=_("workspace"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        related_name="+",
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("person"),
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        null=True,
        blank=True,
        related_name="+",
    )
    actor_name = models.CharField(_("name of the person"), max_length=150, blank=True)
    # The API key with which it was done, if it was.
    key_name = models.CharField(_("API key"), max_length=100, blank=True)
    # As in AbstractLogEntry, without indexes that nobody asks.
    object_pk = models.CharField(_("key of the object"), max_length=255)
    action = models.PositiveSmallIntegerField(_("action"), choices=AbstractLogEntry.Action.choices)
    cid = models.CharField(_("correlation ID"), max_length=255, blank=True, null=True)  # noqa: DJ001

    serialized_data = models.JSONField(_("whole object"), null=True, editable=False)

    objects = AuditEntryManager()

    class Meta:
        ordering = ("-timestamp", "-pk")
        indexes = (
            # In the order of the page, also where it is filtered by what is selective.
            models.Index(fields=("workspace", "-timestamp", "-id"), name="audit_of_workspace"),
            models.Index(fields=("workspace", "actor", "-timestamp", "-id"), name="audit_of_person"),
            models.Index(fields=("workspace", "content_type", "-timestamp", "-id"), name="audit_of_kind"),
        )
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit log")
