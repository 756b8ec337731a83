"""The registry of trained models for operators: to look at. Versions come from runs alone."""

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy as _

from catalog.models import Model, ModelVersion
from console.read_only import ReadOnlyAdmin


@admin.register(Model)
class ModelAdmin(ReadOnlyAdmin):
    list_display = ("name", "uid", "model_type", "workspace", "version_count", "total_size", "created_at")
    list_filter = ("model_type", "workspace")
    list_select_related = ("workspace",)
    search_fields = ("name", "uid")
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Model]:
        return super().get_queryset(request).annotate(count=Count("versions"), bytes=Sum("versions__size"))

    @admin.display(description=_("versions"), ordering="count")
    def version_count(self, model: Any) -> int:
        return model.count

    @admin.display(description=_("size"), ordering="bytes")
    def total_size(self, model: Any) -> str:
        return filesizeformat(model.bytes or 0)


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = (
        "__str__",
        "uid",
        "state",
        "workspace",
        "base_model",
        "method",
        "shown_size",
        "created_at",
    )
    list_filter = ("state", "method", "model__workspace", "base_model__family")
    list_select_related = ("model__workspace", "base_model")
    search_fields = ("uid", "model__name", "model__uid")
    date_hierarchy = "created_at"

    @admin.display(description=_("workspace"), ordering="model__workspace__name")
    def workspace(self, version: ModelVersion) -> str:
        return str(version.model.workspace)

    @admin.display(description=_("size"), ordering="size")
    def shown_size(self, version: ModelVersion) -> str:
        return filesizeformat(version.size)
