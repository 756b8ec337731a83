"""Brings the data files into the database without undoing what operators changed there.

Every row keeps, in `loaded`, the value of each field as the files last had it. Loading writes a field
only where the row still has that value, so a field that an operator changed stays as it is while the
others of the row follow the files. Further rules:

- Where weights lie, and whether remote code is trusted, is never written; nor is `enabled`. - A row that
is missing is made, except a hyperparameter that was loaded once and that an operator has removed from the
offer. Families, base models and offers are not to be deleted but disabled: deleted ones come back. - A
hyperparameter that left the files goes, unless an operator changed it; families, base models and offers
that left the files stay, because jobs refer to them, and are reported.

`reset=True` forgets all of that and makes the rows as the files have them (weights and `enabled` still
stay).
"""

from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction

from catalog import data_files
from catalog.data_files import Family, HyperparameterRow, OfferRow, Profile
from catalog.models import BaseModel, ModelFamily, Offer, OfferedHyperparameter

VERSION_FIELDS = (
    "name_en",
    "description_zh",
    "description_en",
    "context_length",
    "license_zh",
    "license_en",
    "runs_on",
    "is_stand_in",
    "architecture",
    "parameter_count",
)


class InvalidRow(Exception):
    """A row, as the files and operators together would have it, that may not be saved; the text names it."""


@dataclass
class Report:
    """What a load did: rows by what happened to them, and the changes of operators that it left alone."""

    created: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)


@transaction.atomic
def load(families: list[Family], profiles: dict[str, Profile], *, reset: bool = False) -> Report:
    """Load the families. Raises InvalidRow or DataFileError, and changes nothing, where a row is not valid."""
    loader = _Loader(profiles, reset)
    for family in families:
        loader.load_family(family)
    OfferedHyperparameter.objects.bulk_create(loader.new_hyperparameters)
    named = [version.name for family in families for version in family.versions]
    known = ModelFamily.objects.exclude(key__in=[family.key for family in families]).exclude(loaded={})
    left_over = [_name(row) for row in known]
    left_over += [_name(row) for row in BaseModel.objects.exclude(name__in=named).exclude(loaded={})]
    loader.report.left_over += left_over
    return loader.report


def load_data_files(*, reset: bool = False) -> Report:
    """Load everything in catalog/data."""
    return load(data_files.read_families(), data_files.read_profiles(), reset=reset)


class _Loader:
    """One load. New hyperparameters, most of the rows, wait in `new_hyperparameters` to be made in one go."""

    def __init__(self, profiles: dict[str, Profile], reset: bool) -> None:
        self.profiles = profiles
        self.reset = reset
        self.report = Report()
        self.new_hyperparameters: list[OfferedHyperparameter] = []

    def load_family(self, family: Family) -> None:
        row = ModelFamily.objects.filter(key=family.key).first() or ModelFamily(key=family.key)
        values = _values(family, "name", "name_en", "description_zh", "description_en", "model_type", "order")
        if self.bring(row, values):
            row.save()
        # By name alone: an operator may have moved one to another family.
        existing = BaseModel.objects.in_bulk([entry.name for entry in family.versions], field_name="name")
        for order, version in enumerate(family.versions, start=1):
            base_model = existing.get(version.name) or BaseModel(family=row, name=version.name)
            values = _values(version, *VERSION_FIELDS)
            if self.bring(base_model, values | {"order": order}):
                base_model.save()
            offers = {offer.method: offer for offer in base_model.offers.prefetch_related("hyperparameters")}
            for offer_order, entry in enumerate(data_files.offer_rows(version, self.profiles), start=1):
                offer = offers.pop(entry.method, None) or Offer(base_model=base_model, method=entry.method)
                self.load_offer(offer, entry, offer_order)
            self.report.left_over += [_name(offer) for offer in offers.values() if offer.loaded]

    def load_offer(self, offer: Offer, entry: OfferRow, order: int) -> None:
        # Beside the fields: which hyperparameters were loaded, to tell one that was removed from a new one.
        known = offer.loaded.get("keys", [])
        existing = {row.key: row for row in offer.hyperparameters.all()} if offer.pk else {}
        keys = [row.key for row in entry.hyperparameters]
        values = {"order": order, "help_zh": entry.text.help_zh, "help_en": entry.text.help_en}
        if self.bring(offer, values, beside={"keys": keys}):
            offer.save()
        for position, figures in enumerate(entry.hyperparameters, start=1):
            key = figures.key
            if key not in existing and key in known and not self.reset:
                self.report.kept.append(f"{_name(offer)} {key}: removed")
                continue
            row = existing.get(key) or OfferedHyperparameter(offer=offer, key=key)
            if self.bring(row, _figures(figures) | {"order": position}):
                if row.pk:
                    row.save()
                else:
                    self.new_hyperparameters.append(row)
        for key in existing.keys() - set(keys):
            self.remove(existing[key])

    def remove(self, row: OfferedHyperparameter) -> None:
        """Remove a hyperparameter that the files do not have, unless it is an operator's own (never loaded) or
        an operator changed it."""
        is_unchanged = row.loaded and all(getattr(row, name) == value for name, value in row.loaded.items())
        if self.reset or is_unchanged:
            self.report.removed.append(_name(row))
            row.delete()
        else:
            self.report.kept.append(f"{_name(row)}: not in the data files")

    def bring(self, row: Any, values: dict[str, Any], beside: dict[str, Any] | None = None) -> bool:
        """Bring a row to `values` as far as operators left it alone, and note them (and `beside`) in `loaded`.
        Says whether the row has to be saved."""
        is_new = row.pk is None
        changed = False
        for name, value in values.items():
            current = getattr(row, name)
            if current == value:
                continue
            if is_new or self.reset or (name in row.loaded and row.loaded[name] == current):
                setattr(row, name, value)
                changed = True
            else:
                self.report.kept.append(f"{_name(row)}: {name}")
        loaded = values | (beside or {})
        if not (is_new or changed or row.loaded != loaded):
            return False
        row.loaded = loaded
        _check(row)
        if is_new:
            self.report.created.append(_name(row))
        elif changed:
            self.report.updated.append(_name(row))
        return True


def _figures(entry: HyperparameterRow) -> dict[str, Any]:
    return {
        **_values(entry, "default", "minimum", "maximum", "choices", "source", "advanced"),
        **_values(entry.text, "label_zh", "label_en", "help_zh", "help_en"),
    }


def _values(source: object, *names: str) -> dict[str, Any]:
    return {name: getattr(source, name) for name in names}


def _check(row: models.Model) -> None:
    """Raise InvalidRow unless the row may be saved; what it belongs to is known to exist."""
    parents = {"family", "base_model", "offer"}
    try:
        row.full_clean(exclude=parents, validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        raise InvalidRow(f"{_name(row)}: {error.message_dict}") from error


def _name(row: models.Model) -> str:
    """How a row is called in the report."""
    match row:
        case ModelFamily():
            return f"family {row.key}"
        case BaseModel():
            return row.name
        case Offer():
            return f"{row.base_model.name} {row.method}"
        case OfferedHyperparameter():
            return f"{_name(row.offer)} {row.key}"
    raise TypeError(row)
