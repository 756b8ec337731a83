"""The hyperparameters of an offer as form fields: an offer says which fields a form has.

A field is named `hp-<key>`. Values are read and checked by catalog.hyperparameters alone; the fields here
show them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.forms.utils import flatatt
from django.http import QueryDict
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from catalog.hyperparameters import HYPERPARAMETERS, clean_value
from catalog.models import OfferedHyperparameter
from catalog.values import InvalidValue, Kind, Raw, Value, format_number, parse

PREFIX = "hp-"

# The hyperparameters that decide whether others show.
DECIDERS = frozenset(key for entry in HYPERPARAMETERS.values() for key in entry.when)


@dataclass(frozen=True)
class ShownHyperparameter:
    """One hyperparameter as the panel shows it."""

    item: OfferedHyperparameter
    field: forms.BoundField
    is_changed: bool

    @property
    def is_folded(self) -> bool:
        """Whether it stands in the folded part. What a choice has just brought up never does."""
        return self.item.is_advanced and not self.item.entry.when

    @property
    def hint(self) -> str:
        return range_and_default(self.item)

    @property
    def default(self) -> str:
        """The default as the control's value, several separated by commas."""
        text = as_text(self.item.default)
        return text if isinstance(text, str) else ",".join(text)


def read_typed(data: QueryDict, offered: Iterable[OfferedHyperparameter]) -> dict[str, Raw]:
    """What a form carries for the offered hyperparameters; keys without a field in it are left out.

    The empty text among the ticked boxes of a list comes from the hidden field beside them, which says that
    the boxes were there.
    """
    raw: dict[str, Raw] = {}
    for item in offered:
        name = PREFIX + item.key
        if name in data:
            is_list = item.entry.kind is Kind.MULTI_CHOICE
            raw[item.key] = [part for part in data.getlist(name) if part] if is_list else data[name]
    return raw


def carried_over(
    raw: Mapping[str, Raw],
    offered: Sequence[OfferedHyperparameter],
    before: Iterable[OfferedHyperparameter] = (),
) -> dict[str, Raw]:
    """What of `raw`, typed for another offer, is kept for this one: what is valid here and was not just
    the default there (`before`)."""
    old_defaults = {item.key: item.default for item in before}
    kept = {}
    for item in offered:
        try:
            value = clean_value(item, raw[item.key])
        except (KeyError, InvalidValue):
            continue
        if item.key not in old_defaults or value != old_defaults[item.key]:
            kept[item.key] = raw[item.key]
    return kept


def is_default(item: OfferedHyperparameter, raw: Mapping[str, Raw]) -> bool:
    """Whether the typed value is the default; a missing one is, nonsense is not."""
    if item.key not in raw:
        return True
    try:
        return parse(item.entry.kind, raw[item.key]) == item.default
    except InvalidValue:
        return False


def form_field(item: OfferedHyperparameter) -> forms.Field:
    """A field that shows the hyperparameter; it checks nothing itself."""
    widget = _widget(item)
    if item.key in DECIDERS:
        widget.attrs["data-refresh"] = True
    return forms.Field(required=False, label=item.label, help_text=item.help, widget=widget)


class _DrawnAtOnce(forms.widgets.Input):
    """Drawn without Django's templates, three to a control: a panel has some twenty controls, and is drawn again
    for every choice."""

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        widget = self.get_context(name, value, attrs)["widget"]
        given = {} if widget["value"] is None else {"value": str(widget["value"])}
        own = {"type": widget["type"], "name": widget["name"]}
        return format_html("<input{}>", flatatt(own | given | widget["attrs"]))


# Named as their parents, by which templates know them (BoundField.widget_type).
class NumberInput(_DrawnAtOnce, forms.NumberInput):
    pass


class CheckboxInput(_DrawnAtOnce, forms.CheckboxInput):
    pass


class Select(forms.Select):
    """Drawn without Django's templates too: one a list and one an option."""

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        widget = self.get_context(name, value, attrs)["widget"]
        options = [option for _group, options, _index in widget["optgroups"] for option in options]
        drawn = format_html_join(
            "",
            "<option{}>{}</option>",
            ((flatatt({"value": str(item["value"])} | item["attrs"]), item["label"]) for item in options),
        )
        return format_html(
            "<select{}>{}</select>", flatatt({"name": widget["name"]} | widget["attrs"]), drawn
        )


def _widget(item: OfferedHyperparameter) -> forms.Widget:
    kind = item.entry.kind
    if kind is Kind.BOOLEAN:
        return CheckboxInput(attrs={"value": "True"})
    options = [(as_text(value), label) for value, label in item.choice_labels]
    if kind is Kind.MULTI_CHOICE:
        return forms.CheckboxSelectMultiple(choices=options)
    if item.choices is not None:
        return Select(choices=options)
    attrs = {"step": "1" if kind is Kind.INTEGER else "any"}
    if item.minimum is not None:
        attrs["min"] = format_number(item.minimum)
    if item.maximum is not None:
        attrs["max"] = format_number(item.maximum)
    return NumberInput(attrs=attrs)


def as_text(value: Raw) -> str | list[str]:
    """A value as its control holds it."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value)
    return [str(part) for part in value] if isinstance(value, list | tuple) else str(value)


def range_and_default(item: OfferedHyperparameter) -> str:
    """One line under the control: what is allowed, what holds without a choice."""
    default = _label(item, item.default)
    if item.choices is None and item.minimum is not None and item.maximum is not None:
        return _("%(minimum)s to %(maximum)s, default %(default)s") % {
            "minimum": format_number(item.minimum),
            "maximum": format_number(item.maximum),
            "default": default,
        }
    return _("Default %(default)s") % {"default": default}


def _label(item: OfferedHyperparameter, value: Value) -> str:
    labels = {str(choice): label for choice, label in item.choice_labels}
    parts = value if isinstance(value, list) else [value]
    return ", ".join(labels.get(str(part)) or str(as_text(part)) for part in parts)
