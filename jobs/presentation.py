"""What the page of a run shows of it: its progress, its configuration, whether anything can still change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db.models import Count, Max
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from catalog.hyperparameters import GROUPS, HYPERPARAMETERS
from catalog.models import OfferedHyperparameter
from catalog.texts import localized
from catalog.values import format_number
from jobs.curves import last_value
from jobs.models import Publication, Run, RunState

# Who decided a value; the keys are those of the run's specification.
ORIGINS: dict[str, str | Promise] = {
    "offer": _("Default of the model"),
    "user": _("Set for this run"),
    "base_run": _("From the run it builds on"),
    "trainer": _("Decided by the trainer"),
}


@dataclass(frozen=True)
class Setting:
    """One hyperparameter of a run. `asked` is what was asked for, where the trainer decided otherwise."""

    key: str
    label: str
    value: str
    origin: str
    origin_label: str
    asked: str = ""


@dataclass
class SettingGroup:
    label: str
    settings: list[Setting] = field(default_factory=list)


def is_settled(run: Run) -> bool:
    """Whether the page of the run can no longer change by itself: it is over and its publishing is, too."""
    return run.is_terminal and not (run.state == RunState.DONE and run.publication == Publication.PENDING)


def state_token(run: Run) -> str:
    """Changes when the run's buttons and its state's badge do."""
    if run.is_stopping:
        return f"{run.state}-stopping"
    return f"{run.state}-paused" if run.paused_at else run.state


def parts_token(run: Run) -> str:
    """Changes when the parts beside the progress do: timeline, checkpoints, samples, publication."""
    entry = run.timeline.aggregate(newest=Max("pk"))["newest"]
    saved = run.checkpoints.aggregate(count=Count("pk"), newest=Max("step"))
    samples = run.summary.get("samples", [])
    newest_sample = samples[-1]["path"].rpartition("/")[2] if samples else None
    replies = [prompt["replies"][-1]["step"] for prompt in run.summary.get("replies", [])]
    newest_reply = f"{min(replies)}r{len(replies)}" if replies else None
    parts = (run.publication, entry, saved["count"], saved["newest"], newest_sample, newest_reply)
    return "-".join("" if part is None else str(part) for part in parts)


def sample_share(run: Run) -> float | None:
    """Percent of the training time that samples took; None before the run is done."""
    timing = run.summary.get("result", {}).get("timing", {})
    total = sum(timing.values())
    return 100 * timing.get("samples", 0.0) / total if total else None


def latest_metrics(run: Run) -> dict[str, float | None]:
    """The newest values of the metrics that the page shows as figures: a look into the index for each."""
    keys = ("loss", "eval_loss", "tokens_per_second", "samples_per_second")
    values = Run.objects.filter(pk=run.pk).values_list(*(last_value(key) for key in keys)).get()
    return dict(zip(keys, values, strict=True))


def setting_groups(run: Run) -> list[SettingGroup]:
    """The hyperparameters of a run under their headings: what the trainer resolved, else what was asked for."""
    offered = {
        item.key: item
        for item in OfferedHyperparameter.objects.filter(
            offer__base_model=run.base_model_id, offer__method=run.method
        ).select_related("offer")
    }
    groups = {key: SettingGroup(localized(group, "label")) for key, group in GROUPS.items()}
    other = SettingGroup(str(_("Other")))
    keys = [key for key in HYPERPARAMETERS if key in run.resolved or key in run.hyperparameters]
    keys += sorted((set(run.resolved) | set(run.hyperparameters)) - set(HYPERPARAMETERS))
    for key in keys:
        group = groups[HYPERPARAMETERS[key].group] if key in HYPERPARAMETERS else other
        group.settings.append(_setting(run, key, offered.get(key)))
    return [group for group in [*groups.values(), other] if group.settings]


def _setting(run: Run, key: str, offered: OfferedHyperparameter | None) -> Setting:
    asked = run.hyperparameters.get(key)
    resolved = run.resolved.get(key)
    if resolved is not None:
        value, origin = resolved.get("value"), resolved.get("origin", "")
    else:
        value, origin = asked, "offer" if offered is not None and asked == offered.default else "user"
    entry = HYPERPARAMETERS.get(key)
    label = offered.label if offered else localized(entry, "label") if entry else key
    is_other = asked is not None and resolved is not None and asked != value
    return Setting(
        key=key,
        label=label,
        value=shown_value(key, value),
        origin=origin,
        origin_label=str(ORIGINS.get(origin, origin)),
        asked=shown_value(key, asked) if is_other else "",
    )


def shown_value(key: str, value: Any) -> str:
    """A hyperparameter's value for people: numbers as they are typed, texts of a list with their label."""
    if isinstance(value, list):
        return ", ".join(shown_value(key, part) for part in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value)
    choices = HYPERPARAMETERS[key].choices if key in HYPERPARAMETERS else ()
    labels = {choice.value: localized(choice, "label") for choice in choices}
    return labels.get(value, str(value))
