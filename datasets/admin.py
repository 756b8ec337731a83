"""Datasets for operators: to look at. They are changed on the pages of the console, where the rules are."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from datasets.models import Dataset, DatasetVersion, SourceFile


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


class SourceFileInline(admin.TabularInline):
    model = SourceFile
    fields = readonly_fields = ("name", "path", "size")
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(DatasetVersion)
class DatasetVersionAdmin(admin.ModelAdmin):
    list_display = ("__str__", "uid", "state", "format", "row_count", "problem_count", "created_at")
    list_filter = ("state", "format", "dataset__workspace")
    list_select_related = ("dataset",)
    search_fields = ("uid", "dataset__name", "dataset__uid")
    inlines = (SourceFileInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
