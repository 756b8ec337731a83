"""DescribeFineTuningSupportModels: every base model with its methods and the limits of their hyperparameters.

The SDK checks a configuration against this answer before it sends it, and builds its `TrainConfig` from it, so
that the types, names and descriptions have to be there for every key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from django.db.models import Prefetch

from catalog.hyperparameters import Hyperparameter
from catalog.methods import METHODS
from catalog.models import BaseModel, Offer, OfferedHyperparameter
from catalog.values import Kind, Value
from jobs.training.trainers import FULL, LORA, mode_of, scale_of

# The SDK knows two scales, and for one more it would give up the whole answer. Jobs may still name others.
KNOWN_METHODS = [key for key in METHODS if scale_of(key) in (FULL, LORA)]

_TYPES = {
    Kind.INTEGER: "int",
    Kind.FLOAT: "float",
    Kind.CHOICE: "string",
    Kind.BOOLEAN: "string",  # "True" and "False"
    Kind.MULTI_CHOICE: "string",
}


def api_keys(base_model: BaseModel) -> dict[str, str]:
    """Our hyperparameter keys that Qianfan's API spells otherwise for this model, with its spelling."""
    if base_model.family.name.startswith("ERNIE"):
        return {"schedulerName": "lrSchedulerType", "packing": "Packing"}
    return {"packing": "Packing"}


def own_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters as Qianfan's clients send them, under our keys. Either spelling is taken from anybody."""
    spelt = {"lrSchedulerType": "schedulerName", "Packing": "packing"}
    return {spelt.get(key, key): value for key, value in given.items()}


def supported_models(*, idle: bool) -> list[dict[str, Any]]:
    """The answer, in the active language; `idle` says whether any pool offers idle training. Four queries."""
    hyperparameters = OfferedHyperparameter.objects.order_by("order", "pk").defer("loaded")
    offers = (
        Offer.objects.filter(enabled=True, method__in=KNOWN_METHODS)
        .order_by("order", "pk")
        .prefetch_related(Prefetch("hyperparameters", hyperparameters))
    )
    models = BaseModel.objects.filter(enabled=True).select_related("family")
    models = models.prefetch_related(Prefetch("offers", offers)).order_by("family__order", "order", "pk")
    return [_model(model, idle) for model in models if model.offers.all()]


def _model(model: BaseModel, idle: bool) -> dict[str, Any]:
    spelling = api_keys(model)
    # Sorted by the first of each mode, which are in the order of the catalogue.
    modes = list(dict.fromkeys(mode_of(offer.method) for offer in model.offers.all()))
    offers = sorted(model.offers.all(), key=lambda offer: modes.index(mode_of(offer.method)))
    return {
        "baseModel": model.family.name,
        "model": model.name,
        "modelType": model.family.model_type,
        "supportTrainMode": [
            {"trainMode": mode, "supportParameterScale": _scales(of_mode, spelling, idle)}
            for mode, of_mode in groupby(offers, lambda offer: mode_of(offer.method))
        ],
    }


def _scales(offers: Iterable[Offer], spelling: Mapping[str, str], idle: bool) -> list[dict[str, Any]]:
    return [
        {
            "parameterScale": scale_of(offer.method),
            "supportIdleResource": idle,
            "supportHyperParameterConfig": [
                _hyperparameter(offered, spelling) for offered in offer.hyperparameters.all()
            ],
        }
        for offer in offers
    ]


def _hyperparameter(offered: OfferedHyperparameter, spelling: Mapping[str, str]) -> dict[str, Any]:
    entry = offered.entry
    check, values = _check(offered, entry)
    return {
        "key": spelling.get(offered.key, offered.key),
        "name": offered.label,
        "description": offered.help or offered.label,
        "type": _TYPES[entry.kind],
        "checkType": check,
        "checkValue": values,
        "default": offered.default,
    }


def _check(offered: OfferedHyperparameter, entry: Hyperparameter) -> tuple[str, list[Value]]:
    if offered.choices is not None:
        return ("mult_choice" if entry.kind is Kind.MULTI_CHOICE else "choice"), offered.choices
    if not entry.kind.is_number:
        return ("mult_choice" if entry.kind is Kind.MULTI_CHOICE else "choice"), list(entry.choice_values)
    # The SDK knows no open ends.
    low = entry.limits.low if offered.minimum is None else offered.minimum
    high = entry.limits.high if offered.maximum is None else offered.maximum
    bounds = (-1e9 if low is None else low, 1e9 if high is None else high)
    return "range", [int(bound) if entry.kind is Kind.INTEGER else float(bound) for bound in bounds]
