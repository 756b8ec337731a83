"""Small words of the datasets pages."""

from __future__ import annotations

from datetime import datetime

from django import template
from django.utils.translation import gettext as _

from datasets.formats import FORMATS
from datasets.models import DatasetVersion
from datasets.problems import KINDS, Problem

register = template.Library()


@register.filter
def format_label(key: str) -> str:
    """The name of a format, "–" where there is none yet."""
    return str(FORMATS[key].label) if key in FORMATS else key or "–"


@register.filter
def place(problem: Problem) -> str:
    """Where a problem is: file:line, or file, row and line for arrays."""
    if problem["line"] is None:
        return problem["file"]
    if problem["row"] is None:
        return f"{problem['file']}:{problem['line']}"
    return _("%(file)s:%(line)d, row %(row)d") % problem


@register.filter
def updated_at(version: DatasetVersion) -> datetime:
    """When something last happened to a version."""
    return version.published_at or version.import_heartbeat_at or version.created_at


@register.filter
def percent_of(part: int, whole: int) -> int:
    """The share in percent, 0 of nothing."""
    return min(100, 100 * part // whole) if whole else 0


@register.filter
def share_of(part: int, whole: int) -> str:
    """The share as people read it: 12.3 %, "< 0.1 %" where there is something but hardly anything."""
    percent = 100 * part / whole if whole else 0.0
    return "< 0.1%" if 0 < percent < 0.1 else f"{percent:.1f}%".replace(".0%", "%")


@register.filter
def problem_title(kind: str) -> str:
    """The short name of a kind of problem."""
    return str(KINDS[kind].title) if kind in KINDS else kind
