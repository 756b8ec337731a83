"""Type → family → version → mode → method: what a form that is still being filled in stands for.

Every choice narrows the next one. What was chosen before and does not fit any more gives way to a default:
the first version with bound weights, else the first one; supervised fine-tuning; the first method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from django.utils.translation import gettext as _

from catalog.methods import Mode
from catalog.models import BaseModel, ModelFamily, ModelType, Offer
from catalog.offered import enabled_offers
from jobs.training.trainers import SFT, TRAINERS, method_of, mode_of, scale_of

T = TypeVar("T")


class TypeOption(NamedTuple):
    """A job type and, where nothing of it can be trained, why."""

    value: str
    label: str
    obstacle: str


@dataclass(frozen=True)
class ModelChoice:
    """What is chosen, and from what. `offers` are all that is enabled, in the catalogue's order.

    Family, base model and offer are None only where the type has none at all.
    """

    offers: Sequence[Offer]
    model_type: str
    family: ModelFamily | None
    base_model: BaseModel | None
    offer: Offer | None

    @property
    def types(self) -> list[TypeOption]:
        offered = {offer.base_model.family.model_type for offer in self.offers}
        options = []
        for value, label in ModelType.choices:
            obstacle = ""
            if value not in offered:
                obstacle = _("No base model of this type is offered.")
            elif value not in TRAINERS:
                obstacle = _("This installation has no trainer for this type yet.")
            options.append(TypeOption(value, str(label), obstacle))
        return options

    @property
    def families(self) -> list[ModelFamily]:
        return _unique(_family(offer) for offer in self.offers if _type(offer) == self.model_type)

    @property
    def base_models(self) -> list[BaseModel]:
        return _unique(offer.base_model for offer in self.offers if _family(offer) == self.family)

    @property
    def mode(self) -> Mode | None:
        return self.offer.entry.mode if self.offer else None

    @property
    def modes(self) -> list[Mode]:
        """What the base model can learn from; mostly conversations alone."""
        return _unique(offer.entry.mode for offer in self.offers if offer.base_model == self.base_model)

    @property
    def methods(self) -> list[Offer]:
        """The offers of the base model in the chosen mode."""
        own = (offer for offer in self.offers if offer.base_model == self.base_model)
        return [offer for offer in own if offer.entry.mode == self.mode]


def choose(
    typed: Mapping[str, str],
    model_type: str = "",
    family_id: int | None = None,
    base_model_id: int | None = None,
) -> ModelChoice:
    """Reads `type`, `family` (its key), `base_model` (name or pk), `mode` and `method` from what was typed.

    A base model alone says its type and family. `model_type` and `family_id` are fixed where given: later
    runs of a job keep its type, and its family too while one of them is active. `base_model_id` is that of the
    run that is built on, which keeps its base model.
    """
    offers = enabled_offers()
    named = [offer for offer in offers if is_named(offer.base_model, typed.get("base_model", ""))]
    asked_type = typed.get("type", "")
    model_type = model_type or (asked_type if asked_type in ModelType else "")
    model_type = model_type or (_type(named[0]) if named else ModelType.TEXT_TO_TEXT.value)

    candidates = [offer for offer in offers if _type(offer) == model_type]
    if family_id is not None:
        candidates = [offer for offer in candidates if _family(offer).pk == family_id]
    candidates = _narrow(candidates, lambda offer: offer.base_model.pk == base_model_id)
    asked_family = typed.get("family", "")
    candidates = _narrow(candidates, lambda offer: _family(offer).key == asked_family)
    candidates = _narrow(candidates, lambda offer: offer in named)
    candidates = _narrow(candidates, lambda offer: offer.base_model.is_bound)
    candidates = [offer for offer in candidates if offer.base_model == candidates[0].base_model]
    wanted = named_method(typed)
    candidates = _narrow(candidates, lambda offer: mode_of(offer.method) == mode_of(wanted))
    candidates = _narrow(candidates, lambda offer: scale_of(offer.method) == scale_of(wanted))

    chosen = candidates[0] if candidates else None
    return ModelChoice(
        offers=offers,
        model_type=model_type,
        family=_family(chosen) if chosen else None,
        base_model=chosen.base_model if chosen else None,
        offer=chosen,
    )


def named_method(typed: Mapping[str, str]) -> str:
    """The method that was typed, in the mode that was chosen where one was: the choice of another mode keeps the
    scale.
    """
    method, mode = typed.get("method", ""), typed.get("mode", "")
    if not mode or not method:
        return method or method_of(mode or SFT, "")
    return method_of(mode, scale_of(method))


def is_named(base_model: BaseModel, text: str) -> bool:
    return text in (base_model.name, str(base_model.pk))


def _narrow(offers: list[Offer], wanted: Callable[[Offer], bool]) -> list[Offer]:
    """The wanted ones, or all where none is."""
    return [offer for offer in offers if wanted(offer)] or offers


def _family(offer: Offer) -> ModelFamily:
    return offer.base_model.family


def _type(offer: Offer) -> str:
    return offer.base_model.family.model_type


def _unique(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
