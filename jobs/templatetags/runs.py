"""What templates of runs need beyond Django's own filters."""

from decimal import Decimal
from typing import Any

from django import template
from django.conf import settings
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from jobs import messages
from jobs.listing import JobQuery
from jobs.models import Run, TimelineEntry
from jobs.run_mix import data_totals, test_set

register = template.Library()
register.simple_tag(test_set)
register.filter(data_totals)


@register.filter
def duration(seconds: float | None) -> str:
    """Seconds as people say them: 45 s, 12 min 5 s, 3 h 20 min, 2 days 4 h."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return ngettext("%(days)s day %(hours)s h", "%(days)s days %(hours)s h", days) % {
            "days": days,
            "hours": hours_left,
        }
    if hours:
        return _("%(hours)s h %(minutes)s min") % {"hours": hours, "minutes": minutes_left}
    if minutes:
        return _("%(minutes)s min %(seconds)s s") % {"minutes": minutes, "seconds": rest}
    return _("%(seconds)s s") % {"seconds": rest}


@register.filter
def run_seconds(run: Run) -> float | None:
    """Seconds from its start to its end, or to now; None before the start."""
    if run.started_at is None:
        return None
    return ((run.finished_at or timezone.now()) - run.started_at).total_seconds()


# Currencies that have a sign of their own in both languages; others are named by their code.
SIGNS = {"CNY": "¥", "USD": "$", "EUR": "€", "GBP": "£"}


@register.filter
def money(value: Decimal | None, currency: str = "") -> str:
    """A price, with two decimals and more where it has more; a dash for None."""
    if value is None:
        return "–"
    code = currency or settings.CURRENCY
    decimals = max(2, -int(value.normalize().as_tuple().exponent))
    number = number_format(value, decimals, force_grouping=True)
    return f"{SIGNS[code]}{number}" if code in SIGNS else f"{number} {code}"


@register.filter
def hours(value: Decimal | None) -> str:
    """Hours as they are charged, with two decimals; a dash for None."""
    return "–" if value is None else number_format(value, 2, force_grouping=True)


@register.filter
def percent(value: float) -> str:
    return _("%(value)s%%") % {"value": value}


@register.filter
def steps_text(run: Run) -> str:
    """Steps done of all, "120 / 500"; empty before anything is known."""
    if run.total_steps is None:
        return ""
    return f"{number_format(run.step, force_grouping=True)} / {number_format(run.total_steps, force_grouping=True)}"


@register.filter
def epoch_text(run: Run) -> str:
    """Epochs done of all, "1.5 / 3"; a dash before the first step."""
    if not run.step:
        return "–"
    done, whole = number_format(run.epoch, 2), run.summary.get("epochs")
    return f"{done} / {whole:g}" if whole else done


@register.simple_tag
def sort_link(query: JobQuery, key: str) -> dict[str, str]:
    """Where the head of the column `key` leads, and the order that the column has now (for aria-sort)."""
    if query.sort.removeprefix("-") != key:
        return {"address": query.address(sort="-created" if key == "created" else key), "order": ""}
    descending = query.sort.startswith("-")
    return {
        "address": query.address(sort=key if descending else f"-{key}"),
        "order": "descending" if descending else "ascending",
    }


@register.simple_tag
def next_page(query: JobQuery, cursor: str) -> str:
    return query.address(before=cursor)


@register.filter
def failure_text(failure: dict[str, Any] | None) -> str:
    return messages.failure_text(failure)


@register.filter
def publication_text(note: dict[str, Any] | None) -> str:
    return messages.publication_text(note)


@register.filter
def phase_text(run: Run) -> str:
    return messages.phase_text(run)


@register.filter
def entry_text(entry: TimelineEntry) -> str:
    return messages.timeline_text(entry)


@register.filter
def entry_tone(entry: TimelineEntry) -> str:
    return messages.timeline_tone(entry)
