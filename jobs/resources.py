"""资源配置: on which pool a run trains, on how many of its devices, and whether it gives way to others."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from jobs import queueing
from jobs.models import Pool, Run

Problems = dict[str, list[str]]


@dataclass(frozen=True)
class PoolCard:
    """A pool that may be chosen; `free` of its devices are held by nobody at the moment."""

    pool: Pool
    free: int
    is_chosen: bool


@dataclass(frozen=True)
class Resources:
    """What a run asks for. Without a pool (none is set up) it goes to the default queue."""

    pool: Pool | None = None
    devices: int = 1
    idle: bool = False


class ResourceFields(forms.Form):
    """The fields of the section, for the form of a run. A pool is named by its queue."""

    pool = forms.CharField(label=gettext_lazy("Resource pool"), required=False)
    devices = forms.CharField(
        label=gettext_lazy("Devices"),
        help_text=gettext_lazy("More devices cost more an hour and take less time."),
        required=False,
    )
    idle = forms.BooleanField(
        label=gettext_lazy("Idle training"),
        help_text=gettext_lazy(
            "The run starts when resources are idle. They are not its own: it may be interrupted while it "
            "trains, and goes on by itself later. For tasks that are not urgent."
        ),
        required=False,
    )

    typed: QueryDict
    submitted: bool

    @cached_property
    def offered_pools(self) -> list[Pool]:
        return list(Pool.objects.filter(enabled=True))

    @property
    def pool_cards(self) -> list[PoolCard]:
        busy = queueing.busy_by_pool(self.offered_pools)
        return [
            PoolCard(pool, max(0, pool.slots - busy[pool.pk]), pool == self.chosen_pool)
            for pool in self.offered_pools
        ]

    @cached_property
    def chosen_pool(self) -> Pool | None:
        """The pool that is named, else the first; None where the name is none of those offered."""
        name = self.typed.get("pool", "")
        if not name:
            return self.offered_pools[0] if self.offered_pools else None
        return next((pool for pool in self.offered_pools if pool.queue == name), None)

    @property
    def chosen_devices(self) -> str:
        """The number as it was typed. While the form is filled in, one that the pool does not offer (it was
        chosen for another pool) gives way to the pool's first."""
        offered = [str(count) for count in offered_counts(self.chosen_pool)]
        typed = self.typed.get("devices", "")
        return typed if typed in offered or (typed and self.submitted) else offered[0]

    @property
    def device_choices(self) -> list[tuple[str, str]]:
        """Counts of devices of the chosen pool, as value and text; a submitted one that it does not offer as
        well, for the complaint stands beside it."""
        choices = [
            (str(count), ngettext("%(count)d device", "%(count)d devices", count) % {"count": count})
            for count in offered_counts(self.chosen_pool)
        ]
        chosen = self.chosen_devices
        return choices if chosen in dict(choices) else [*choices, (chosen, chosen)]

    def read_resources(self, errors: Problems) -> Resources:
        """What is asked for; names and numbers that cannot be read go to `errors`."""
        name, typed = self.typed.get("pool", ""), self.chosen_devices
        if name and self.chosen_pool is None:
            errors["pool"] = [_("%(name)s is not one of the resource pools offered here.") % {"name": name}]
        # Nine digits are more devices than anybody has, and fit into the database.
        is_number = typed.isascii() and typed.isdecimal() and len(typed) <= 9
        if not is_number:
            errors["devices"] = [_("Enter a whole number.")]
        devices = int(typed) if is_number else offered_counts(self.chosen_pool)[0]
        return Resources(self.chosen_pool, devices, bool(self.typed.get("idle")))


def offered_counts(pool: Pool | None) -> list[int]:
    """The numbers of devices that a run may ask for, as far as the pool has so many; [1] where the operator
    lists none of these, and without a pool."""
    if pool is None:
        return [1]
    return [count for count in pool.device_counts if count <= pool.slots] or [1]


def resource_problems(resources: Resources) -> Problems:
    """Why a run may not have these resources, by field: pool, devices, idle."""
    pool = resources.pool
    if pool is None:
        found: Problems = {}
        if Pool.objects.filter(enabled=True).exists():
            found["pool"] = [_("Choose a resource pool.")]
        if resources.idle:
            found["idle"] = [_("Idle training needs a resource pool.")]
        return found
    if not pool.enabled:
        return {"pool": [_("%(pool)s is not offered any more. Choose another pool.") % {"pool": pool.name}]}
    found = {}
    counts = offered_counts(pool)
    if resources.devices not in counts:
        found["devices"] = [
            _("%(pool)s offers these numbers of devices: %(counts)s.")
            % {"pool": pool.name, "counts": _listed(counts)}
        ]
    if resources.idle and not pool.allows_idle:
        found["idle"] = [_("%(pool)s does not offer idle training.") % {"pool": pool.name}]
    return found


def _listed(counts: Collection[int]) -> str:
    return ", ".join(map(str, counts))


def typed_resources(run: Run) -> dict[str, str]:
    """A run's resources as somebody would have typed them."""
    if run.pool is None:
        return {}
    typed = {"pool": run.pool.queue, "devices": str(run.devices)}
    return typed | {"idle": "on"} if run.idle else typed
