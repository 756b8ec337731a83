"""Resource pools for operators: what is offered, at which price, how fast it is, and who is on it now."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from jobs import queueing
from jobs.models import Pool, Throughput


class DeviceCountsField(forms.CharField):
    """A list of whole numbers, typed as "1, 2, 4"."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[int]:
        parts = [part.strip() for part in super().clean(value).replace("，", ",").split(",")]
        if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 10_000 for part in parts):
            raise ValidationError(gettext("Enter whole numbers from 1, separated by commas."))
        return sorted({int(part) for part in parts})

    def has_changed(self, initial: Any, data: Any) -> bool:
        return self.prepare_value(initial) != data


class PoolForm(forms.ModelForm):
    device_counts = DeviceCountsField(
        label=_("devices a run may ask for"), help_text=_("Whole numbers, separated by commas: 1, 2, 4, 8.")
    )

    def clean_queue(self) -> str:
        queue: str = self.cleaned_data["queue"]
        if queue == settings.CELERY_TASK_DEFAULT_QUEUE:
            raise ValidationError(gettext("This queue is for imports and other short work."))
        return queue

    def clean(self) -> dict[str, Any]:
        """A count that no run could ever get would be offered in vain."""
        cleaned = super().clean() or self.cleaned_data
        slots, counts = cleaned.get("slots"), cleaned.get("device_counts")
        if slots is not None and counts and max(counts) > slots:
            self.add_error(
                "device_counts",
                gettext("A run cannot ask for more devices than the pool has (%(slots)d).")
                % {"slots": slots},
            )
        return cleaned


class ThroughputForm(forms.ModelForm):
    def clean_tokens_per_second(self) -> float:
        speed: float = self.cleaned_data["tokens_per_second"]
        if not speed > 0 or speed == float("inf"):
            raise ValidationError(gettext("Enter a number above 0."))
        return speed


class ThroughputInline(admin.TabularInline):
    model = Throughput
    form = ThroughputForm
    extra = 0
    autocomplete_fields = ("base_model",)


@admin.register(Pool)
class PoolAdmin(admin.ModelAdmin):
    form = PoolForm
    list_display = (
        "name",
        "queue",
        "accelerator",
        "device_name",
        "busy",
        "waiting",
        "price",
        "idle_price",
        "allows_idle",
        "enabled",
        "order",
    )
    list_editable = ("enabled", "order")
    search_fields = ("name", "queue", "device_name")
    inlines = (ThroughputInline,)
    fieldsets = (
        (None, {"fields": ("name", "queue", "enabled", "order")}),
        (_("Devices"), {"fields": ("accelerator", "device_name", "slots", "device_counts")}),
        (_("Price"), {"fields": ("price", "allows_idle", "idle_price")}),
    )

    @admin.display(description=_("devices in use"))
    def busy(self, pool: Pool) -> str:
        return f"{queueing.busy_devices(pool)} / {pool.slots}"

    @admin.display(description=_("waiting runs"))
    def waiting(self, pool: Pool) -> int:
        return queueing.in_line(queueing.runs_of(pool)).count()

    def has_delete_permission(self, request: HttpRequest, obj: Pool | None = None) -> bool:
        """A pool that a run has used stays, for its runs' sake; it can be disabled."""
        allowed = super().has_delete_permission(request, obj)
        return allowed and (obj is None or not obj.runs.exists())
