"""What the templates of problems ask for."""

from django import template

from datasets import repairs
from datasets.models import DatasetVersion
from datasets.problems import Problem

register = template.Library()


@register.simple_tag
def mending_key(version: DatasetVersion, problem: Problem) -> str:
    """The key of a problem that can be mended in a form; "" for others."""
    return repairs.key_of(problem) if repairs.can_be_mended(version, problem) else ""
