"""What the templates of uploads ask for."""

from typing import Any

from django import template

from datasets.models import DatasetVersion, Upload
from datasets.receiving import unfinished

register = template.Library()


@register.simple_tag(takes_context=True)
def unfinished_uploads(context: dict[str, Any], version: DatasetVersion) -> list[Upload]:
    """The signed-in person's files for a version that are not imported yet; incomplete ones first."""
    return unfinished(version, context["request"].user)
