"""Datasets for operators: to look at. Rows, states and deletions belong to the pages of the console, where the rules
are. What is offered to every workspace (预置数据集, 通用语料) is decided here."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from console.read_only import ReadOnlyAdmin
from datasets.models import (
    Connection,
    Dataset,
    DatasetVersion,
    RowType,
    SharedData,
    SharedKind,
    SourceFile,
    VersionState,
)


class VersionInline(admin.TabularInline):
    model = DatasetVersion
    fields = ("number", "state", "format", "row_count", "character_count", "created_by", "published_at")
    readonly_fields = fields
    extra = 0
    can_delete = False
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Dataset)
class DatasetAdmin(admin.ModelAdmin):
    list_display = ("name", "workspace", "row_type", "created_by", "created_at")
    list_filter = ("workspace", "row_type")
    list_select_related = ("workspace", "created_by")
    search_fields = ("name", "uid")
    readonly_fields = ("uid", "row_type", "created_by", "created_at")
    autocomplete_fields = ("workspace",)
    inlines = (VersionInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deleting takes files along and asks who needs them: that is done on the dataset's own page."""
        return False


class SourceFileInline(admin.TabularInline):
    model = SourceFile
    fields = readonly_fields = ("name", "path", "size")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(DatasetVersion)
class DatasetVersionAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "uid", "state", "format", "row_count", "problem_count", "created_at")
    list_filter = ("state", "format", "dataset__workspace")
    list_select_related = ("dataset",)
    search_fields = ("uid", "dataset__name", "dataset__uid", "content_hash")
    inlines = (SourceFileInline,)


class SharedDataForm(forms.ModelForm):
    """What is offered must be there, stay as it is, and be of use."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        version, kind = data.get("version"), data.get("kind")
        if version is None:
            return data
        if version.state != VersionState.PUBLISHED or not version.row_count:
            self.add_error(
                "version", ValidationError(_("Only a published version with rows can be offered."))
            )
        elif version.rows_path and not default_storage.exists(version.rows_path):
            self.add_error("version", ValidationError(_("The rows of this version are lost.")))
        elif kind == SharedKind.CORPUS and version.dataset.row_type != RowType.MESSAGES:
            self.add_error("version", ValidationError(_("A general corpus must consist of conversations.")))
        return data


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    """Which workspace reaches which storage. Keys are entered on the pages and shown nowhere."""

    list_display = ("name", "workspace", "endpoint", "bucket", "tested_at", "created_by")
    list_filter = ("workspace",)
    list_select_related = ("workspace", "created_by")
    search_fields = ("name", "uid", "endpoint", "bucket")
    fields = (
        "uid",
        "workspace",
        "name",
        "endpoint",
        "region",
        "bucket",
        "addressing",
        "tested_at",
        "created_by",
    )


@admin.register(SharedData)
class SharedDataAdmin(admin.ModelAdmin):
    form = SharedDataForm
    list_display = ("__str__", "kind", "version", "rows", "enabled", "order")
    list_display_links = ("__str__",)
    list_editable = ("enabled", "order")
    list_filter = ("kind", "enabled")
    list_select_related = ("version__dataset",)
    search_fields = ("name_zh", "name_en", "version__uid", "version__dataset__name")
    autocomplete_fields = ("version",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Runs name what they were trained with: version and kind of an entry stay."""
        return ("version", "kind") if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "version":
            kwargs["queryset"] = DatasetVersion.objects.filter(state=VersionState.PUBLISHED)
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.display(description=_("rows"))
    def rows(self, shared: SharedData) -> int:
        return shared.version.row_count
