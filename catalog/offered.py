"""Everything that may be chosen, kept in memory: the wizard asks for it with every swap, and it changes once in weeks.

What is kept belongs to a revision, a number in PostgreSQL that a trigger moves with every change of the catalogue
(migration 0003). One small query asks for it; two larger ones, and the objects they fill, are saved.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import connection
from django.db.models import Prefetch

from catalog.models import Offer, OfferedHyperparameter


@dataclass(frozen=True)
class _Kept:
    revision: int
    offers: tuple[Offer, ...]


_kept: _Kept | None = None


def enabled_offers() -> list[Offer]:
    """All offers that may be chosen, in the catalogue's order, with base model, family and hyperparameters at hand.

    The objects are shared between requests: to read only.
    """
    global _kept
    # Asked before the offers are read: what changes in between is read again under its own number.
    revision = _revision()
    if _kept is None or _kept.revision != revision:
        _kept = _Kept(revision, tuple(_read()))
    return list(_kept.offers)


def _revision() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM catalog_revision")
        (number,) = cursor.fetchone()
    return number


def _read() -> list[Offer]:
    hyperparameters = OfferedHyperparameter.objects.order_by("order", "pk").defer("loaded")
    offers = Offer.objects.filter(enabled=True, base_model__enabled=True)
    offers = offers.select_related("base_model__family")
    offers = offers.defer("loaded", "base_model__loaded", "base_model__family__loaded")
    offers = offers.prefetch_related(Prefetch("hyperparameters", hyperparameters))
    order = ("base_model__family__order", "base_model__family_id", "base_model__order", "base_model_id")
    return list(offers.order_by(*order, "order", "pk"))
