"""The base models that training can start from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET

from catalog.hyperparameters import HYPERPARAMETERS
from catalog.models import BaseModel, ModelFamily, ModelType, Offer, OfferedHyperparameter
from catalog.texts import localized
from catalog.values import Kind, format_number

# What the short names of sources in catalog/data/profiles.toml mean; any other text stands for itself.
SOURCES: dict[str, str | Promise] = {
    "CAP": gettext_lazy("Qianfan's service, November 2024"),
    "CAP, default ours": gettext_lazy("Qianfan's service, November 2024; the default is ours"),
    "OLD": gettext_lazy("Qianfan's Python SDK"),
    "ours": gettext_lazy("Ours, as Qianfan does not say"),
}


@dataclass(frozen=True)
class OfferRow:
    """One hyperparameter of an offer as a line of the table."""

    key: str
    label: str
    help: str
    default: str
    allowed: str
    condition: str
    source: str


@require_GET
@login_required
def base_model_list(request: HttpRequest) -> HttpResponse:
    """All families of a type with their base models; what is switched off is shown to operators only."""
    is_operator = request.user.is_staff
    chosen = request.GET.get("type", "")
    chosen = chosen if chosen in ModelType.values else ""
    offers = Offer.objects.filter(enabled=True)
    models: QuerySet[BaseModel] = BaseModel.objects.prefetch_related(Prefetch("offers", offers))
    if not is_operator:
        models = models.filter(enabled=True)
    families = ModelFamily.objects.prefetch_related(Prefetch("base_models", models))
    found = [family for family in families if family.base_models.all()]
    types = [
        (value, label, [family for family in found if family.model_type == value])
        for value, label in ModelType.choices
    ]
    context = {
        "types": [
            (value, label, sum(len(item.base_models.all()) for item in of)) for value, label, of in types
        ],
        "sections": [(label, of) for value, label, of in types if of and chosen in ("", value)],
        "chosen": chosen,
        "count": sum(len(family.base_models.all()) for family in found),
        "nav": "catalog",
    }
    return render(request, "catalog/list.html", context)


@require_GET
@login_required
def base_model_detail(request: HttpRequest, name: str) -> HttpResponse:
    """One base model with what each of its methods offers."""
    model = get_object_or_404(BaseModel.objects.select_related("family"), name=name)
    offers = model.offers.filter(enabled=True).prefetch_related("hyperparameters")
    context: dict[str, Any] = {
        "model": model,
        "offers": [(offer, offer_rows(offer)) for offer in offers],
        "nav": "catalog",
    }
    return render(request, "catalog/detail.html", context)


def offer_rows(offer: Offer) -> list[OfferRow]:
    """The hyperparameters of an offer in its order."""
    items = list(offer.hyperparameters.all())
    for item in items:
        item.offer = offer
    labels = {item.key: item.label for item in items}
    return [
        OfferRow(
            key=item.key,
            label=item.label,
            help=item.help,
            default=_value(item, item.default),
            allowed=_allowed(item),
            condition=_condition(item, labels),
            source=_source(item.source),
        )
        for item in items
    ]


def _value(item: OfferedHyperparameter, value: object) -> str:
    """A value with the label that its choice has."""
    if isinstance(value, list):
        return ", ".join(_value(item, part) for part in value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value)
    labels = {choice.value: localized(choice, "label") for choice in item.entry.choices}
    return labels.get(str(value), str(value))


def _allowed(item: OfferedHyperparameter) -> str:
    """The range or the choices."""
    if item.choices:
        return ", ".join(_value(item, value) for value in item.choices)
    low = None if item.minimum is None else format_number(item.minimum)
    high = None if item.maximum is None else format_number(item.maximum)
    if low is not None and high is not None:
        return f"{low} – {high}"
    return f"≥ {low}" if low is not None else f"≤ {high}" if high is not None else ""


def _condition(item: OfferedHyperparameter, labels: dict[str, str]) -> str:
    """When the hyperparameter counts, in words; empty if always."""
    parts = []
    for key, accepted in item.entry.when.items():
        decider = HYPERPARAMETERS[key]
        # Texts of a choice are short and known ("cosine"); True and False have better words.
        words = {choice.value: localized(choice, "label") for choice in decider.choices}
        is_switch = decider.kind is Kind.BOOLEAN
        values = ", ".join(words.get(value, value) if is_switch else value for value in accepted)
        name = labels.get(key) or localized(decider, "label")
        parts.append(_("%(name)s is %(values)s") % {"name": name, "values": values})
    return "; ".join(parts)


def _source(source: str) -> str:
    """Where a figure comes from, in words."""
    if source.startswith("D "):
        return _("Qianfan's documentation, %(date)s") % {"date": source.removeprefix("D ")}
    return str(SOURCES.get(source, source))
