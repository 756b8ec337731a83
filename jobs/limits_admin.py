"""Limits of workspaces for operators, with what is used of them."""

from django.contrib import admin
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from jobs.limits import standings
from jobs.models import Limits


@admin.register(Limits)
class LimitsAdmin(admin.ModelAdmin):
    list_display = ("workspace", "running", "device_hours", "checkpoint_days", "used")
    list_select_related = ("workspace",)
    autocomplete_fields = ("workspace",)
    search_fields = ("workspace__name",)

    @admin.display(description=_("used now"))
    def used(self, limits: Limits) -> str:
        standing = standings([limits.workspace_id]).get(limits.workspace_id)
        if standing is None:
            return "–"
        return gettext("%(running)d runs, %(hours).1f device hours this month") % {
            "running": standing.running,
            "hours": standing.hours,
        }
