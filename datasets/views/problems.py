"""What an import found to be wrong: the page of it, all of it to take away, and bad records to be mended."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import msgspec
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods

from console.downloads import as_file
from console.htmx import HtmxHttpRequest
from console.spreadsheets import csv_lines
from datasets import publishing, repairs
from datasets.forms_repairs import RepairForm
from datasets.models import DatasetVersion
from datasets.problems import ERROR, KINDS, Problem, every, grouped, message
from datasets.results import NOTED_PROBLEMS
from datasets.views.common import tab_context, visible_version, writable_version

COLUMNS = ("file", "line", "row", "level", "kind", "field", "problem", "excerpt")


@require_GET
@login_required
def problems_page(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """The problems whose places were kept, by kind, errors apart from warnings."""
    version = visible_version(request, uid)
    groups = grouped(version.problems, version.problem_kinds, limit=len(version.problems))
    context = tab_context(request, version, "overview") | {
        "errors": [group for group in groups if group.kind.level == ERROR],
        "warnings": [group for group in groups if group.kind.level != ERROR],
        "kept": NOTED_PROBLEMS if version.problems_path else len(version.problems),
    }
    return render(request, "datasets/problems.html", context)


@require_GET
@login_required
def problems_download(request: HtmxHttpRequest, uid: str, ending: str) -> StreamingHttpResponse:
    """All problems as JSON lines, each with the text of its record, or as CSV without it."""
    version = visible_version(request, uid)
    problems = _opened(version)
    parts, content_type = (
        (_csv(problems), "text/csv; charset=utf-8")
        if ending == "csv"
        else (_json_lines(problems), "application/jsonl")
    )
    response = StreamingHttpResponse(parts, content_type=content_type)
    return as_file(response, f"{version.dataset.name}-{version.label}-problems.{ending}")


@require_http_methods(["GET", "POST"])
@login_required
def mend(request: HtmxHttpRequest, uid: str, key: str) -> HttpResponse:
    """One bad record in a form; saved, it is judged again and becomes a row."""
    version = writable_version(request, uid)
    problem = repairs.find(version, key)
    if problem is None or not repairs.can_be_mended(version, problem):
        messages.info(request, _("This problem is not there any more."))
        return redirect("datasets:problems", uid)
    form = RepairForm(request.POST or None, request.FILES or None, version=version, problem=problem)
    if request.method == "POST" and form.is_valid():
        try:
            repairs.mend(version, key, form.cleaned_data["record"], form.cleaned_data.get("picture"))
        except repairs.NotMended as error:
            form.add_error("record", str(error))
        except publishing.NotAllowed as error:
            messages.error(request, str(error))
            return redirect("datasets:problems", uid)
        else:
            messages.success(request, _("The row is good now; it stands behind the other rows."))
            return redirect(_after(version))
    context = tab_context(request, version, "overview") | {
        "form": form,
        "problem": problem,
        "sentence": message(problem),
        "title": KINDS[problem["kind"]].title,
    }
    return render(request, "datasets/repair.html", context, status=422 if form.errors else 200)


def _after(version: DatasetVersion) -> str:
    """To what is still wrong, or back to a version where all is well."""
    version.refresh_from_db()
    page = "problems" if version.problem_count else "version"
    return reverse(f"datasets:{page}", args=[version.uid])


# --- Downloads -----------------------------------------------------------------------------------------------


def _opened(version: DatasetVersion) -> Iterator[Problem]:
    """The problems, the first one read already: a lost file is told before the answer has begun."""
    problems = every(version)
    try:
        first = next(problems, None)
    except FileNotFoundError as error:
        raise Http404(_("The problems are no longer in the storage.")) from error
    return chain([first] if first else [], problems)


def _json_lines(problems: Iterator[Problem]) -> Iterator[bytes]:
    for problem in problems:
        told = {**problem, "level": KINDS[problem["kind"]].level, "message": message(problem)}
        yield msgspec.json.encode(told) + b"\n"


def _csv(problems: Iterator[Problem]) -> Iterator[str]:
    return csv_lines(COLUMNS, map(_cells, problems))


def _cells(problem: Problem) -> list[Any]:
    told: dict[str, Any] = {
        **problem,
        "level": KINDS[problem["kind"]].level,
        "problem": message(problem),
    }
    return [told[column] for column in COLUMNS]
