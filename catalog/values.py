"""Values of hyperparameters: the kinds there are, reading one from a form or from JSON, and its bounds.

The value of an offered hyperparameter is an int, a float, a str or a list of str; which one, its `Kind` says.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum

from django.utils.translation import gettext as _

Value = int | float | str | list[str]
Raw = object  # what arrives: text or a list of texts from a form, any JSON value from the API


class Kind(StrEnum):
    """What sort of value a hyperparameter takes.

    INTEGER and FLOAT are offered with a range or with a list of choices; CHOICE is one text of a list;
    BOOLEAN is a choice of "True" and "False", the two texts that Qianfan's API uses; MULTI_CHOICE is a
    list of one or more different texts.
    """

    INTEGER = "integer"
    FLOAT = "float"
    CHOICE = "choice"
    BOOLEAN = "boolean"
    MULTI_CHOICE = "multi_choice"

    @property
    def is_number(self) -> bool:
        return self in (Kind.INTEGER, Kind.FLOAT)


class InvalidValue(ValueError):
    """A value that cannot be accepted; its text is a sentence in the active language for the person who
    typed it."""


def format_number(number: float) -> str:
    """A number as people write it: 4096, 0.01, 1e-7 (not 1e-07), 3 for 3.0."""
    if isinstance(number, float) and number.is_integer() and abs(number) < 1e15:
        number = int(number)
    mantissa, e, exponent = repr(number).partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def parse(kind: Kind, raw: Raw) -> Value:
    """The value that `raw` stands for. Raises InvalidValue where it stands for none."""
    if raw is None or (isinstance(raw, str) and not raw.strip()) or raw == []:
        raise InvalidValue(_("Enter a value."))
    if kind is Kind.MULTI_CHOICE:
        return _parse_list(raw)
    if isinstance(raw, list):
        raise InvalidValue(_("Enter one value, not a list."))
    if kind is Kind.INTEGER:
        return _parse_integer(raw)
    if kind is Kind.FLOAT:
        return _parse_float(raw)
    if kind is Kind.BOOLEAN:
        return _parse_boolean(raw)
    return str(raw).strip()


def check_bounds(
    value: Value, minimum: float | None, maximum: float | None, choices: Sequence[Value] | None
) -> None:
    """Raise InvalidValue unless `value` is one of `choices`, if there are any, and lies in
    minimum..maximum."""
    if choices is not None:
        if any(part not in choices for part in (value if isinstance(value, list) else [value])):
            allowed = ", ".join(format_number(c) if isinstance(c, int | float) else str(c) for c in choices)
            raise InvalidValue(_("Choose from: %(allowed)s.") % {"allowed": allowed})
        return
    if not isinstance(value, int | float):
        return
    if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
        raise InvalidValue(range_message(minimum, maximum))


def range_message(minimum: float | None, maximum: float | None) -> str:
    """The sentence that states an allowed range."""
    if minimum is not None and maximum is not None:
        if minimum == maximum:
            return _("The only value allowed is %(value)s.") % {"value": format_number(minimum)}
        return _("Enter a value from %(minimum)s to %(maximum)s.") % {
            "minimum": format_number(minimum),
            "maximum": format_number(maximum),
        }
    if minimum is not None:
        return _("Enter a value of at least %(minimum)s.") % {"minimum": format_number(minimum)}
    return _("Enter a value of at most %(maximum)s.") % {"maximum": format_number(maximum or 0)}


def _parse_integer(raw: Raw) -> int:
    if isinstance(raw, int) and not isinstance(raw, bool):
        return raw
    if isinstance(raw, float) and raw.is_integer():
        return int(raw)
    if isinstance(raw, str) and "_" not in raw:
        with suppress(ValueError):
            return int(raw)
    raise InvalidValue(_("Enter a whole number."))


def _parse_float(raw: Raw) -> float:
    number = math.nan
    is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
    if is_number or (isinstance(raw, str) and "_" not in raw):
        with suppress(ValueError, OverflowError):  # the latter for a whole number beyond all floats
            number = float(raw)  # type: ignore[arg-type]
    if not math.isfinite(number):
        raise InvalidValue(_("Enter a number, for example 0.01 or 3e-5."))
    return number


def _parse_boolean(raw: Raw) -> str:
    text = str(raw).strip().capitalize()
    if text not in ("True", "False"):
        raise InvalidValue(_("Choose from: %(allowed)s.") % {"allowed": "True, False"})
    return text


def _parse_list(raw: Raw) -> list[str]:
    items = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise InvalidValue(_("Enter a list of texts."))
    return list(dict.fromkeys(item.strip() for item in items if item.strip())) or _nothing_chosen()


def _nothing_chosen() -> list[str]:
    raise InvalidValue(_("Choose at least one."))
