"""Names of methods and model types for templates that have only the stored key."""

from django import template

from catalog import metrics
from catalog.methods import METHODS
from catalog.models import ModelType
from catalog.texts import localized

register = template.Library()


@register.filter
def method_label(key: str) -> str:
    """The training method's name in the active language; an unknown key stands for itself."""
    return localized(METHODS[key], "label") if key in METHODS else key


@register.filter
def model_type_label(key: str) -> str:
    """The model type's name in the active language; an unknown key stands for itself."""
    return str(dict(ModelType.choices).get(key, key))


@register.filter
def metric_label(key: str) -> str:
    """The metric's name in the active language; an unknown key stands for itself."""
    return metrics.metric_label(key)


@register.filter
def metric(value: object) -> str:
    """A measured number with four significant digits, whole ones grouped; a dash for anything else."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


@register.filter
def billions(count: int | None) -> str:
    """A number of parameters as people write it: 360 M, 8 B; empty for none."""
    if not count:
        return ""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
