"""What may be chosen now, for the wizard, the pages and the API: enabled rows only, with few queries."""

from typing import Any

from django.db.models import Exists, OuterRef, Prefetch, QuerySet

from catalog.hyperparameters import Hyperparameter
from catalog.models import BaseModel, ModelFamily, Offer, OfferedHyperparameter
from catalog.texts import localized
from catalog.values import Kind


def families(model_type: str) -> QuerySet[ModelFamily]:
    """Families of the type that have something to choose, in order."""
    return ModelFamily.objects.filter(Exists(_choosable(family=OuterRef("pk"))), model_type=model_type)


def versions(family: ModelFamily) -> QuerySet[BaseModel]:
    """The family's base models that may be chosen, in order. Not all of them need be bound to weights."""
    return _choosable(family=family).select_related("family")


def base_model(name: str) -> BaseModel | None:
    """The base model of that name, if it may be chosen."""
    return _choosable(name=name).select_related("family").first()


def offers(base_model: BaseModel) -> list[Offer]:
    """The offers of a base model that may be chosen, in order, with their hyperparameters: two queries."""
    hyperparameters = Prefetch("hyperparameters", OfferedHyperparameter.objects.order_by("order", "pk"))
    chosen = Offer.objects.filter(base_model=base_model, enabled=True).order_by("order", "pk")
    return list(chosen.select_related("base_model__family").prefetch_related(hyperparameters))


def offer(base_model: BaseModel, method: str) -> Offer | None:
    """The offer of a base model under a method, with its hyperparameters, if it may be chosen."""
    return next((item for item in offers(base_model) if item.method == method), None)


def describe_offer(offer: Offer) -> dict[str, Any]:
    """An offer as JSON, in the active language: for scripts, and for whoever wants to see all of it at once."""
    return {
        "model": offer.base_model.name,
        "method": offer.method,
        "label": offer.method_label,
        "help": offer.help,
        "hyperparameters": [_describe(hyperparameter) for hyperparameter in offer.hyperparameters.all()],
    }


def _describe(hyperparameter: OfferedHyperparameter) -> dict[str, Any]:
    entry = hyperparameter.entry
    described: dict[str, Any] = {
        "key": hyperparameter.key,
        "label": hyperparameter.label,
        "help": hyperparameter.help,
        "type": entry.kind.value,
        "default": hyperparameter.default,
    }
    if hyperparameter.choices is None:
        described["range"] = [_number(entry, hyperparameter.minimum), _number(entry, hyperparameter.maximum)]
    else:
        described["choices"] = [
            {"value": value, "label": label} for value, label in hyperparameter.choice_labels
        ]
    return described | {
        "unit": hyperparameter.unit,
        "group": localized(hyperparameter.group, "label"),
        "advanced": hyperparameter.is_advanced,
        "when": {key: list(values) for key, values in entry.when.items()},
    }


def _number(entry: Hyperparameter, bound: float | None) -> float | None:
    """A bound, which is stored as a float, as the kind of number it bounds."""
    return int(bound) if entry.kind is Kind.INTEGER and bound is not None else bound


def _choosable(**conditions: Any) -> QuerySet[BaseModel]:
    """Enabled base models that have an enabled offer."""
    offered = Offer.objects.filter(base_model=OuterRef("pk"), enabled=True)
    return BaseModel.objects.filter(Exists(offered), enabled=True, **conditions)
