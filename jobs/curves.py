"""The curves of a run as the charts read them (static/js/charts.js)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypedDict

from django.core.paginator import Page, Paginator
from django.db.models import OuterRef, Subquery
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from jobs.models import Metric, Run

# Of each series at most so many points leave the server: twice the width of a chart in pixels.
MAX_POINTS = 1000
STEPS_PER_PAGE = 100

METRIC_LABELS: dict[str, str | Promise] = {
    "loss": _("Training loss"),
    "eval_loss": _("Validation loss"),
    "learning_rate": _("Learning rate"),
    "grad_norm": _("Gradient norm"),
    "tokens_per_second": _("Tokens per second"),
    "samples_per_second": _("Samples per second"),
    "eval_perplexity": _("Validation perplexity"),
    "eval_token_accuracy": _("Validation token accuracy"),
    "token_accuracy": _("Token accuracy"),
}

Point = tuple[int, float]


class Series(TypedDict):
    key: str
    label: str
    points: list[Point]


class Curves(TypedDict):
    """`cursor` goes back as `?after=`; `active` says whether more may come."""

    series: list[Series]
    cursor: int
    active: bool


def metric_label(key: str) -> str:
    return str(METRIC_LABELS.get(key, key))


def metric_order(key: str) -> tuple[int, str]:
    """Sorts metrics as METRIC_LABELS lists them, unknown ones behind by name."""
    known = list(METRIC_LABELS)
    return (known.index(key) if key in known else len(known), key)


def metric_table(run: Run, page: str | None) -> tuple[Page, list[str], list[tuple[int, list[float | None]]]]:
    """The same numbers as the curves, unthinned, a page of steps at a time, newest first.

    Returns the page, the keys of the columns, and a step with its values (None where it has none) a row.
    """
    own = Metric.objects.filter(run=run)
    steps = own.order_by("-step").values_list("step", flat=True).distinct()
    found = Paginator(steps, STEPS_PER_PAGE).get_page(page)
    values = {
        (step, key): value
        for step, key, value in own.filter(step__in=list(found)).values_list("step", "key", "value")
    }
    keys = sorted({key for _step, key in values}, key=metric_order)
    return found, keys, [(step, [values.get((step, key)) for key in keys]) for step in found]


def last_value(key: str) -> Subquery:
    """The newest value of a metric, to annotate a queryset of runs with."""
    newest = Metric.objects.filter(run=OuterRef("pk"), key=key).order_by("-step")
    return Subquery(newest.values("value")[:1])


def curves(run: Run, keys: Sequence[str] = (), after: int = 0) -> Curves:
    """The points of `run` that were stored after the cursor, thinned out; of all metrics if `keys` is empty.

    The cursor is the highest id sent, not the highest step: the validation loss of a step is stored after
    its training loss, and a cursor over steps would skip it. Series come in the order of `keys`.
    """
    rows = Metric.objects.filter(run=run, pk__gt=after)
    if keys:
        rows = rows.filter(key__in=keys)
    points: dict[str, list[Point]] = defaultdict(list)
    cursor = after
    for pk, key, step, value in rows.values_list("pk", "key", "step", "value").iterator(chunk_size=10_000):
        cursor = max(cursor, pk)
        if math.isfinite(value):  # JSON has no NaN
            points[key].append((step, value))
    series: list[Series] = [
        {"key": key, "label": metric_label(key), "points": thinned(sorted(points[key]))}
        for key in (keys or sorted(points, key=metric_order))
        if key in points
    ]
    return {"series": series, "cursor": cursor, "active": run.is_active}


def thinned(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most `limit` of `points` (in order of steps), keeping the extremes.

    The points are cut into equal stretches; of each its lowest and its highest stay, so that a spike of a
    single step is still seen. First and last point always stay.
    """
    if len(points) <= limit:
        return list(points)
    buckets = (limit - 2) // 2
    inner = points[1:-1]
    kept = [points[0]]
    for number in range(buckets):
        start, end = number * len(inner) // buckets, (number + 1) * len(inner) // buckets
        kept += _extremes(inner[start:end])
    return [*kept, points[-1]]


def _extremes(points: Iterable[Point]) -> list[Point]:
    """The lowest and the highest point, in order of steps; one point if they are the same."""
    points = list(points)
    low, high = min(points, key=lambda point: point[1]), max(points, key=lambda point: point[1])
    return sorted({low, high})
