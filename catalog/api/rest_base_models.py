"""The base models that may be trained, with what each method offers, through the own API."""

from __future__ import annotations

from typing import Any

from django.db.models import Prefetch
from django.http import Http404, HttpResponse
from ninja import Router
from pydantic import BaseModel, Field

from catalog import queries
from catalog.models import BaseModel as BaseModelRow
from catalog.models import Offer
from console.rest.answers import answer
from console.rest.authentication import READ, ApiRequest
from console.rest.errors import COMMON, WITH_OBJECT

router = Router(tags=["Base models"])


class BaseModelOut(BaseModel):
    name: str
    label: str
    family: str
    family_key: str
    type: str
    context_length: int | None
    runs_on: str = Field(description="The open weights behind the name")
    is_stand_in: bool = Field(description="Whether weights of that name were never published")
    is_bound: bool = Field(description="Whether an operator has bound weights, so that it trains")
    methods: list[str]


class BaseModelsOut(BaseModel):
    items: list[BaseModelOut]


class ChoiceOut(BaseModel):
    value: Any
    label: str


class HyperparameterOut(BaseModel):
    """`range` or `choices` says what is allowed; `when`, under which values of others it counts."""

    key: str
    label: str
    help: str
    type: str = Field(description="integer, float, choice, boolean or multi_choice")
    default: Any
    range: tuple[float | None, float | None] | None = None
    choices: list[ChoiceOut] | None = None
    unit: str
    group: str
    advanced: bool
    when: dict[str, list[str]]


class OfferOut(BaseModel):
    method: str
    label: str
    help: str
    hyperparameters: list[HyperparameterOut]


class BaseModelDetail(BaseModelOut):
    description: str
    license: str
    offers: list[OfferOut]


def _fields(model: BaseModelRow, methods: list[str]) -> dict[str, Any]:
    return {
        "name": model.name,
        "label": model.label,
        "family": model.family.label,
        "family_key": model.family.key,
        "type": model.family.model_type,
        "context_length": model.context_length,
        "runs_on": model.runs_on,
        "is_stand_in": model.is_stand_in,
        "is_bound": model.is_bound,
        "methods": methods,
    }


@router.get("/base-models", auth=READ, response=COMMON | {200: BaseModelsOut}, summary="Base models")
def base_models(request: ApiRequest) -> HttpResponse:
    offers = Prefetch("offers", Offer.objects.filter(enabled=True).order_by("order", "pk"))
    models = BaseModelRow.objects.filter(enabled=True).select_related("family").prefetch_related(offers)
    items = [
        BaseModelOut(**_fields(model, [offer.method for offer in model.offers.all()]))
        for model in models
        if model.offers.all()
    ]
    return answer(request, BaseModelsOut(items=items))


@router.get(
    "/base-models/{name}", auth=READ, response=WITH_OBJECT | {200: BaseModelDetail}, summary="One base model"
)
def base_model(request: ApiRequest, name: str) -> HttpResponse:
    """With the hyperparameters of each method: defaults, ranges, choices."""
    found = None if "\0" in name else queries.base_model(name)
    if found is None:
        raise Http404
    offers = queries.offers(found)
    described = [queries.describe_offer(offer) for offer in offers]
    detail = BaseModelDetail(
        **_fields(found, [offer.method for offer in offers]),
        description=found.description,
        license=found.license,
        offers=[OfferOut.model_validate(item) for item in described],
    )
    return answer(request, detail)
