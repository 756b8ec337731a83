"""Jobs and runs for operators: to look at, and to stop. What a run is never changes after its start."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from console.read_only import ReadOnlyAdmin
from jobs import lifecycle, limits_admin, pool_admin, priorities  # noqa: F401 -- registers pools and limits
from jobs.messages import failure_text, timeline_text
from jobs.models import Job, Priority, Run, TimelineEntry


class TimelineInline(admin.TabularInline):
    model = TimelineEntry
    fields = ("at", "text", "actor")
    readonly_fields = fields
    extra = 0
    can_delete = False
    ordering = ("-at", "-pk")

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("event"))
    def text(self, entry: TimelineEntry) -> str:
        return timeline_text(entry)


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ("name", "uid", "model_type", "workspace", "run_count", "created_by", "created_at")
    list_filter = ("model_type", "workspace")
    list_select_related = ("workspace", "created_by")
    search_fields = ("name", "uid")
    date_hierarchy = "created_at"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return super().get_queryset(request).annotate(count=Count("runs"))

    @admin.display(description=_("runs"), ordering="count")
    def run_count(self, job: Any) -> int:
        return job.count


@admin.register(Run)
class RunAdmin(ReadOnlyAdmin):
    list_display = (
        "__str__",
        "state",
        "progress",
        "workspace",
        "base_model",
        "method",
        "host",
        "heartbeat_at",
        "attempt",
        "created_by",
        "created_at",
        "page",
    )
    list_filter = (
        "state",
        "pool",
        "idle",
        "priority",
        "method",
        "job__workspace",
        "base_model__family",
        "publication",
    )
    list_select_related = ("job__workspace", "base_model", "created_by")
    search_fields = ("uid", "job__name", "job__uid", "follower")
    date_hierarchy = "created_at"
    actions = ("stop", "priority_high", "priority_normal", "priority_low")
    inlines = (TimelineInline,)
    fieldsets = (
        (None, {"fields": ("uid", "job", "version", "state", "progress", "failure_sentence", "page")}),
        (
            _("Configuration"),
            {"fields": ("base_model", "method", "hyperparameters", "split_ratio", "test_version")},
        ),
        (
            _("Resources"),
            {
                "fields": (
                    ("pool", "devices", "idle", "priority"),
                    "estimate",
                    "preempt_requested_at",
                    "claimed_at",
                    "held_seconds",
                )
            },
        ),
        (
            _("Carried out by"),
            {"fields": ("follower", "lease", "heartbeat_at", "attempt", "crashes", "events_offset", "phase")},
        ),
        (
            _("Times"),
            {
                "fields": (
                    "created_at",
                    "created_by",
                    "started_at",
                    "finished_at",
                    "stop_requested_at",
                    "stop_requested_by",
                )
            },
        ),
        (
            _("What the trainer said"),
            {"fields": ("resolved", "summary", "failure"), "classes": ("collapse",)},
        ),
        (
            _("Publishing the model"),
            {"fields": ("publication", "publish_name", "publication_note", "model_version")},
        ),
    )

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Stopping needs Django's permission to change runs, though no field can be edited."""
        return request.user.has_perm("jobs.change_run")

    @admin.action(
        description=_("Stop the selected runs (each saves a checkpoint first)"), permissions=["stop"]
    )
    def stop(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        stopped = sum(lifecycle.request_stop(run, request.user) for run in queryset)  # type: ignore[arg-type]
        others = queryset.count() - stopped
        if stopped:
            text = ngettext("%(count)d run is being stopped.", "%(count)d runs are being stopped.", stopped)
            messages.success(request, text % {"count": stopped})
        if others:
            text = ngettext(
                "%(count)d run was already over or being stopped.",
                "%(count)d runs were already over or being stopped.",
                others,
            )
            messages.info(request, text % {"count": others})

    @admin.action(description=_("Give the selected waiting runs high priority"), permissions=["stop"])
    def priority_high(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._prioritise(request, queryset, Priority.HIGH)

    @admin.action(description=_("Give the selected waiting runs normal priority"), permissions=["stop"])
    def priority_normal(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._prioritise(request, queryset, Priority.NORMAL)

    @admin.action(description=_("Give the selected waiting runs low priority"), permissions=["stop"])
    def priority_low(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        self._prioritise(request, queryset, Priority.LOW)

    def _prioritise(self, request: HttpRequest, queryset: QuerySet[Run], priority: Priority) -> None:
        changed = sum(priorities.change(run, priority, request.user) for run in queryset)  # type: ignore[arg-type]
        text = ngettext(
            "%(count)d waiting run has this priority now: %(name)s.",
            "%(count)d waiting runs have this priority now: %(name)s.",
            changed,
        )
        messages.info(request, text % {"count": changed, "name": priority.label})

    @admin.display(description=_("progress"))
    def progress(self, run: Run) -> str:
        return f"{run.percent}% ({run.step}/{run.total_steps or '?'})"

    @admin.display(description=_("workspace"), ordering="job__workspace__name")
    def workspace(self, run: Run) -> str:
        return str(run.job.workspace)

    @admin.display(description=_("host"))
    def host(self, run: Run) -> str:
        """The machine whose worker carries it out; the rest of `follower` is for that machine alone."""
        return run.follower.partition("|")[0] or "–"

    @admin.display(description=_("failure"))
    def failure_sentence(self, run: Run) -> str:
        return failure_text(run.failure) or "–"

    @admin.display(description=_("page"))
    def page(self, run: Run) -> str:
        return format_html('<a href="{}">{}</a>', reverse("jobs:run", args=[run.uid]), gettext("open"))
