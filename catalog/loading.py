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

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction

from catalog import data_files
from catalog.data_files import Family, HyperparameterRow, OfferRow, Profile
from catalog.models import BaseModel, ModelFamily, Offer, OfferedHyperparameter


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
    """Load the families. Raises ValidationError or DataFileError, and changes nothing, where a row is not
    valid."""
    report = Report()
    for family in families:
        _load_family(family, profiles, report, reset)
    named = [version.name for family in families for version in family.versions]
    known = ModelFamily.objects.exclude(key__in=[family.key for family in families]).exclude(loaded={})
    report.left_over += [f"family {row.key}" for row in known]
    report.left_over += [row.name for row in BaseModel.objects.exclude(name__in=named).exclude(loaded={})]
    return report


def load_data_files(*, reset: bool = False) -> Report:
    """Load everything in catalog/data."""
    return load(data_files.read_families(), data_files.read_profiles(), reset=reset)


def _load_family(family: Family, profiles: dict[str, Profile], report: Report, reset: bool) -> None:
    row = ModelFamily.objects.filter(key=family.key).first() or ModelFamily(key=family.key)
    values = _values(family, "name", "name_en", "description_zh", "description_en", "model_type", "order")
    _write(row, values, report, reset)
    for order, version in enumerate(family.versions, start=1):
        base_model = BaseModel.objects.filter(name=version.name).first() or BaseModel(name=version.name)
        if base_model.pk is None:
            base_model.family = row
        values = _values(
            version,
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
        _write(base_model, values | {"order": order}, report, reset)
        offers = data_files.offer_rows(version, profiles)
        for offer_order, offer in enumerate(offers, start=1):
            _load_offer(base_model, offer, offer_order, report, reset)
        others = base_model.offers.exclude(method__in=version.methods).exclude(loaded={})
        report.left_over += [f"{version.name} {other.method}" for other in others]


def _load_offer(base_model: BaseModel, offer: OfferRow, order: int, report: Report, reset: bool) -> None:
    row = base_model.offers.filter(method=offer.method).first()
    row = row or Offer(base_model=base_model, method=offer.method)
    # Kept beside the fields: which hyperparameters were loaded, to know one that was removed from a new one.
    known = set(row.loaded.get("keys", []))
    values = {"order": order, "help_zh": offer.text.help_zh, "help_en": offer.text.help_en}
    keys = [hyperparameter.key for hyperparameter in offer.hyperparameters]
    _write(row, values, report, reset, beside={"keys": keys})
    existing = {hyperparameter.key: hyperparameter for hyperparameter in row.hyperparameters.all()}
    for position, entry in enumerate(offer.hyperparameters, start=1):
        if entry.key not in existing and entry.key in known and not reset:
            report.kept.append(f"{base_model.name} {offer.method} {entry.key}: removed")
            continue
        hyperparameter = existing.get(entry.key) or OfferedHyperparameter(offer=row, key=entry.key)
        _write(hyperparameter, _figures(entry) | {"order": position}, report, reset)
    _remove_left_out((existing[key] for key in existing if key not in keys), report, reset)


def _remove_left_out(rows: Iterable[OfferedHyperparameter], report: Report, reset: bool) -> None:
    """Remove hyperparameters that the files no longer have; an operator's own (never loaded) stay, and so do
    changed ones."""
    for row in rows:
        is_unchanged = bool(row.loaded) and all(
            getattr(row, name) == value for name, value in row.loaded.items()
        )
        if reset or is_unchanged:
            report.removed.append(_name(row))
            row.delete()
        else:
            report.kept.append(f"{_name(row)}: not in the data files")


def _figures(entry: HyperparameterRow) -> dict[str, Any]:
    return {
        **_values(entry, "default", "minimum", "maximum", "choices", "source", "advanced"),
        **_values(entry.text, "label_zh", "label_en", "help_zh", "help_en"),
    }


def _values(source: object, *names: str) -> dict[str, Any]:
    return {name: getattr(source, name) for name in names}


def _write(
    row: Any, values: dict[str, Any], report: Report, reset: bool, beside: dict[str, Any] | None = None
) -> None:
    """Bring one row to `values` as far as operators left it alone, and remember them (and `beside`)."""
    is_new = row.pk is None
    changed = False
    for name, value in values.items():
        current = getattr(row, name)
        if current == value:
            continue
        if is_new or reset or (name in row.loaded and row.loaded[name] == current):
            setattr(row, name, value)
            changed = True
        else:
            report.kept.append(f"{_name(row)}: {name}")
    remembered = values | (beside or {})
    if not is_new and not changed and row.loaded == remembered:
        return
    row.loaded = remembered
    _check(row)
    row.save()
    if is_new:
        report.created.append(_name(row))
    elif changed:
        report.updated.append(_name(row))


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
