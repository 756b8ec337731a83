"""The figures of a version's rows, and their length in tokens of a base model."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_GET, require_POST

from catalog.models import BaseModel
from console.htmx import HtmxHttpRequest, wants_fragment
from datasets import tokens
from datasets.models import CountState, DatasetVersion
from datasets.problems import KINDS
from datasets.row_filter import LANGUAGE_LABELS
from datasets.views.common import tab_context, visible_version, writable_version


@require_GET
@login_required
def statistics_page(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Rows, turns, characters, languages, duplicates, warnings; tokens of the base model `model` with the sequence
    length `length` marked. htmx gets the part about tokens alone."""
    version = visible_version(request, uid)
    context = tab_context(request, version, "statistics") | _tokens(request, version)
    if wants_fragment(request):
        return render(request, "datasets/_statistics_tokens.html", context)
    return render(request, "datasets/statistics.html", context | _figures(version))


@require_POST
@login_required
def count_tokens(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Asks for the count of a version's tokens by a base model's tokenizer."""
    version = writable_version(request, uid)
    name = request.POST.get("model", "")
    base_model = get_object_or_404(
        BaseModel, name=name, pk__in=[one.pk for one in tokens.base_models(version)]
    )
    try:
        tokens.start(version, base_model)
    except tokens.CannotCount as problem:
        messages.error(request, str(problem))
    return redirect(
        f"{reverse('datasets:statistics', args=[version.uid])}?{urlencode({'model': name})}#tokens"
    )


def _figures(version: DatasetVersion) -> dict[str, Any]:
    """What the import counted, with the words of the reader's language."""
    figures = version.statistics
    return {
        "languages": [
            (LANGUAGE_LABELS[key], key, count) for key, count in figures.get("languages", {}).items()
        ],
        "warnings": [(KINDS[kind].title, kind, count) for kind, count in figures.get("flags", {}).items()],
        "characters": _bars(figures.get("characters")),
        "turns": _bars(figures.get("turns")),
    }


def _bars(histogram: dict[str, Any] | None) -> list[dict[str, int]]:
    """The bars of a histogram: from, to (both inclusive), count."""
    if not histogram or not histogram.get("counts"):
        return []
    edges, counts = histogram["edges"], histogram["counts"]
    return [
        {"from": low, "to": high - 1, "count": count}
        for low, high, count in zip(edges, edges[1:], counts, strict=False)
    ]


def _tokens(request: HtmxHttpRequest, version: DatasetVersion) -> dict[str, Any]:
    """The chosen base model, whether it can count, its count, what the chosen sequence length cuts."""
    models = tokens.base_models(version)
    chosen = next((model for model in models if model.name == request.GET.get("model")), None)
    context: dict[str, Any] = {
        "base_models": [(model, tokens.PROBLEMS.get(tokens.obstacle(model), "")) for model in models],
        "has_bound": any(not tokens.obstacle(model) for model in models),
        "base_model": chosen,
    }
    if chosen is None:
        return context
    count = tokens.count_of(version, chosen)
    context |= {"obstacle": tokens.PROBLEMS.get(tokens.obstacle(chosen), ""), "count": count}
    if count is None:
        return context
    context["problem"] = tokens.PROBLEMS.get(count.problem, "")
    context["is_counting"] = count.state in (CountState.WAITING, CountState.COUNTING)
    context["wanted"] = min(version.row_count, tokens.SAMPLE_ROWS)
    if count.state != CountState.DONE:
        return context
    figures = count.figures
    lengths = sorted(map(int, figures["cut"]))
    asked = request.GET.get("length", "")
    length = int(asked) if asked.isdecimal() and int(asked) in lengths else tokens.usual_length(chosen)
    counted = max(1, figures["rows"])
    cut = figures["cut"].get(str(length), 0)
    over = figures["cut"].get(str(chosen.context_length), 0)
    return context | {
        "bars": _bars(figures),
        "lengths": lengths,
        "length": length,
        "cut": cut,
        "cut_percent": 100 * cut / counted,
        "is_sample": version.row_count > tokens.SAMPLE_ROWS,
        "over_context": round(over * version.row_count / counted),
    }
