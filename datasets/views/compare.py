"""Two versions of a dataset side by side."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from console.access import get_visible
from console.htmx import HtmxHttpRequest
from datasets.columns import read_lines
from datasets.comparing import Comparison, compare
from datasets.models import Dataset, DatasetVersion
from datasets.preview import shown
from datasets.templatetags.dataset_tags import format_label

ROWS_A_PAGE = 20


@require_GET
@login_required
def compare_versions(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Figures and rows of the versions ?version=…&version=…; ?side=b shows the rows that only the second has."""
    dataset = get_visible(Dataset.objects.select_related("workspace"), request.user, uid=uid)
    versions = list(dataset.versions.defer("problems").order_by("number"))
    chosen = [one for one in versions if one.uid in request.GET.getlist("version")]
    context: dict[str, Any] = {"nav": "datasets", "dataset": dataset, "versions": versions, "chosen": chosen}
    if len(chosen) != 2:
        context["obstacle"] = _("Choose two versions.")
        return render(request, "datasets/compare.html", context)
    a, b = chosen
    try:
        found = compare(a, b)
        side = "b" if request.GET.get("side") == "b" else "a"
        version = b if side == "b" else a
        numbers = found.only_b if side == "b" else found.only_a
        page = Paginator(numbers, ROWS_A_PAGE).get_page(request.GET.get("page"))
        rows = _rows(version, page.object_list)
    except FileNotFoundError:
        context["obstacle"] = _("The rows of one of the versions are not in this storage.")
        return render(request, "datasets/compare.html", context, status=409)
    context |= {
        "a": a,
        "b": b,
        "side": side,
        "version": version,
        "figures": _figures(a, b),
        "only_a": len(found.only_a),
        "only_b": len(found.only_b),
        "both": found.both,
        "is_same": _is_same(found, a, b),
        "page_obj": page,
        "rows": rows,
    }
    return render(request, "datasets/compare.html", context)


def _rows(version: DatasetVersion, numbers: Any) -> list[Any]:
    wanted = np.asarray(numbers, np.int64).tolist()
    if not wanted:
        return []
    lines = read_lines(version, wanted)
    return [shown(number + 1, msgspec.json.decode(line)) for number, line in zip(wanted, lines, strict=True)]


def _is_same(found: Comparison, a: DatasetVersion, b: DatasetVersion) -> str:
    """A sentence where the versions hold the same rows, "" where they do not."""
    if len(found.only_a) or len(found.only_b):
        return ""
    if a.content_hash == b.content_hash:
        return _("Both versions hold the same rows in the same order: they train the same.")
    return _("Both versions hold the same rows, in another order.")


def _figures(a: DatasetVersion, b: DatasetVersion) -> list[tuple[str, Any, Any]]:
    languages = [one.statistics.get("languages", {}) for one in (a, b)]
    found: list[tuple[str, Any, Any]] = [
        (_("Rows"), a.row_count, b.row_count),
        (_("Turns"), a.turn_count, b.turn_count),
        (_("Characters"), a.character_count, b.character_count),
        (_("Duplicates"), a.statistics.get("duplicates"), b.statistics.get("duplicates")),
    ]
    names = {
        "zh": _("Rows in Chinese"),
        "en": _("Rows in English"),
        "mixed": _("Rows that mix them"),
        "other": _("Rows in other or too short texts"),
    }
    for key, label in names.items():
        if any(key in language for language in languages):
            found.append((label, *(language.get(key, 0) for language in languages)))
    found.append((_("Format"), format_label(a.format), format_label(b.format)))
    return found
