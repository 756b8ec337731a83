"""The curves of a run as the charts read them (static/js/charts.js)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from django.core.cache import cache
from django.db import connection
from django.db.models import OuterRef, Subquery

from catalog.metrics import METRIC_LABELS, metric_label
from jobs.models import Metric, Run

# Of each series at most so many points leave the server: twice the width of a chart in pixels.
MAX_POINTS = 1000
STEPS_PER_PAGE = 100
# For how long a thinned series is kept in the memory of a web process (20 KB each).
KEPT_SECONDS = 600

# JSON has none of them.
NOT_FINITE = (math.nan, math.inf, -math.inf)

# The lowest and the highest point of each stretch, each with its step, and the highest id. What is done for every
# point has to be little: parts of stretches are grouped first, by plain numbers, and a step is looked up only in the
# part that holds the extreme. LIMIT takes nothing away; it tells the planner how few these look-ups are.
PARTS = 10
EXTREMES = """
WITH parts AS MATERIALIZED (
    SELECT (step - %(first)s) * %(all_parts)s / %(steps)s AS part,
           min(value) AS low, max(value) AS high, max(id) AS newest
    FROM jobs_metric
    WHERE run_id = %(run)s AND key = %(key)s AND value > '-Infinity' AND value < 'Infinity'
    GROUP BY 1
), stretches AS (
    SELECT min(ARRAY[low, part]) AS low, max(ARRAY[high, part]) AS high, max(newest) AS newest
    FROM parts GROUP BY part / %(parts)s LIMIT %(stretches)s
), extremes AS (
    SELECT low[1] AS low, low[2]::bigint AS low_part, high[1] AS high, high[2]::bigint AS high_part, newest
    FROM stretches
)
SELECT (SELECT min(step) FROM jobs_metric
        WHERE run_id = %(run)s AND key = %(key)s AND value = low
          AND step >= %(first)s + (low_part * %(steps)s + %(all_parts)s - 1) / %(all_parts)s
          AND step < %(first)s + ((low_part + 1) * %(steps)s + %(all_parts)s - 1) / %(all_parts)s),
       low,
       (SELECT min(step) FROM jobs_metric
        WHERE run_id = %(run)s AND key = %(key)s AND value = high
          AND step >= %(first)s + (high_part * %(steps)s + %(all_parts)s - 1) / %(all_parts)s
          AND step < %(first)s + ((high_part + 1) * %(steps)s + %(all_parts)s - 1) / %(all_parts)s),
       high, newest
FROM extremes
"""

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


def metric_order(key: str) -> tuple[int, str]:
    """Sorts metrics as METRIC_LABELS lists them, unknown ones behind by name."""
    known = list(METRIC_LABELS)
    return (known.index(key) if key in known else len(known), key)


def last_value(key: str) -> Subquery:
    """The newest value of a metric, to annotate a queryset of runs with."""
    newest = Metric.objects.filter(run=OuterRef("pk"), key=key).order_by("-step")
    return Subquery(newest.values("value")[:1])


def metric_keys(run: Run) -> list[str]:
    """The metrics that a run has, in the order of their meaning: an index look-up each, however many points."""
    found: list[str] = []
    rest = Metric.objects.filter(run=run).order_by("key").values_list("key", flat=True)
    while key := rest.filter(key__gt=found[-1] if found else "").first():
        found.append(key)
    return sorted(found, key=metric_order)


# --- As a table ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MetricTable:
    """Some steps, newest first, with their values in the order of `keys` (None where a step has none). `older` is
    the step at which the next table begins, None at the end."""

    keys: list[str]
    rows: list[tuple[int, list[float | None]]]
    older: int | None


def metric_table(run: Run, newest: int | None) -> MetricTable:
    """The numbers of the curves, unthinned: those of STEPS_PER_PAGE steps up to and with `newest`."""
    own = Metric.objects.filter(run=run)
    if newest is not None:
        own = own.filter(step__lte=newest)
    keys = metric_keys(run)
    # A metric at a time, backwards through the index, is as quick in a run of a million points as in a short one.
    steps: set[int] = set()
    for key in keys:
        of_key = own.filter(key=key).order_by("-step").values_list("step", flat=True)
        steps.update(of_key[: STEPS_PER_PAGE + 1])
    shown, more = (found := sorted(steps, reverse=True))[:STEPS_PER_PAGE], found[STEPS_PER_PAGE:]
    rows = own.filter(key__in=keys, step__in=shown).values_list("step", "key", "value")
    values = {(step, key): value for step, key, value in rows}
    keys = [key for key in keys if any((step, key) in values for step in shown)]
    return MetricTable(
        keys, [(step, [values.get((step, key)) for key in keys]) for step in shown], next(iter(more), None)
    )


# --- As curves -------------------------------------------------------------------------------------------------


def curves(run: Run, keys: Sequence[str] = (), after: int = 0) -> Curves:
    """The points of `run` that were stored after the cursor; of all metrics if `keys` is empty. Where they are
    many, the whole series instead, thinned out: a chart puts the points that come in the place of those it has from
    the first of them on.

    The cursor is the highest id sent, not the highest step: the validation loss of a step is stored after
    its training loss, and a cursor over steps would skip it. Series come in the order of `keys`.
    """
    rows = Metric.objects.filter(run=run)
    if keys:
        rows = rows.filter(key__in=keys)
    # In the order of an index, so that PostgreSQL stops behind the last of them.
    some = rows.filter(pk__gt=after).order_by("pk") if after else rows.order_by("key", "step")
    points: dict[str, list[Point]] = defaultdict(list)
    cursor = after
    few = list(some.values_list("pk", "key", "step", "value")[: MAX_POINTS + 1])
    if len(few) > MAX_POINTS:
        for key in metric_keys(run):
            if keys and key not in keys:
                continue
            points[key], newest = _thinned(run, key)
            cursor = max(cursor, newest)
    else:
        for pk, key, step, value in few:
            cursor = max(cursor, pk)
            if math.isfinite(value):
                points[key].append((step, value))
    series: list[Series] = [
        {"key": key, "label": metric_label(key), "points": sorted(points[key])}
        for key in (keys or sorted(points, key=metric_order))
        if points.get(key)
    ]
    return {"series": series, "cursor": cursor, "active": run.is_active}


def _thinned(run: Run, key: str) -> tuple[list[Point], int]:
    """`series_of` a long series: every point of it is read, so whoever opens the page meanwhile gets the same."""
    # New points come together with the offset of the events that brought them (jobs/progress.py).
    name = f"curve-{run.pk}-{run.events_offset}-{key}"
    found: tuple[list[Point], int] | None = cache.get(name)
    if found is None:
        found = series_of(run, key)
        cache.set(name, found, KEPT_SECONDS)
    return found


def series_of(run: Run, key: str, limit: int = MAX_POINTS) -> tuple[list[Point], int]:
    """The points of one metric in order of steps, and the highest id among them; at most `limit`.

    More are cut into equal stretches of steps; of each its lowest and its highest stay, so that a spike of a single
    step is still seen. First and last point always stay.
    """
    rows = Metric.objects.filter(run=run, key=key).exclude(value__in=NOT_FINITE).order_by("step")
    few = list(rows.values_list("step", "value", "pk")[: limit + 1])
    if len(few) <= limit:
        return [(step, value) for step, value, _pk in few], max((pk for *_point, pk in few), default=0)
    ends = [few[0][:2], rows.values_list("step", "value").reverse()[0]]
    stretches = (limit - 2) // 2
    values: dict[str, int | str] = {
        "run": run.pk,
        "key": key,
        "first": ends[0][0],
        "steps": ends[1][0] - ends[0][0] + 1,
        "stretches": stretches,
        "all_parts": stretches * PARTS,
        "parts": PARTS,
    }
    with connection.cursor() as cursor:
        cursor.execute(EXTREMES, values)
        found = cursor.fetchall()
    lows = {(step, value) for step, value, *_rest in found}
    highs = {(step, value) for _step, _value, step, value, _pk in found}
    return sorted(lows.union(highs, ends)), max(pk for *_points, pk in found)
