"""What may be saved: figures that make sense and that the trainer accepts, places where weights can lie."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from catalog import problems
from catalog.hyperparameters import HYPERPARAMETERS, Hyperparameter, Offered, conflicts, visible_keys
from catalog.values import InvalidValue, Kind, Value, check_bounds, parse
from jobs.training.parameters import check_value

# Owner and name of a hub repository: letters, digits, "-", "_" and ".", as the hub itself allows.
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
# Bucket names by S3's rules (BOS has the same), then a folder.
_S3_ADDRESS = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\s?#]*")


def check_binding(kind: str, location: str, revision: str) -> None:
    """Raise ValidationError, at the field, unless the three say together where weights lie (or that none
    do)."""
    if kind == "none":
        if location:
            raise ValidationError({"weights_kind": _("Say what kind of place the location is.")})
        return
    if not location:
        raise ValidationError({"weights_location": _("Enter the place where the weights lie.")})
    if kind == "directory":
        path = PurePosixPath(location)
        if not path.is_absolute() or ".." in path.parts:
            raise ValidationError(
                {"weights_location": _("Enter an absolute path, for example /srv/weights/ernie.")}
            )
    elif kind == "hub" and not _HUB_ID.fullmatch(location):
        raise ValidationError(
            {"weights_location": _("Enter a repository as owner/name, for example baidu/ERNIE-4.5-0.3B-PT.")}
        )
    elif kind == "s3" and not _S3_ADDRESS.fullmatch(location):
        raise ValidationError({"weights_location": _("Enter an address such as s3://bucket/folder/.")})
    if revision and kind != "hub":
        raise ValidationError({"weights_revision": _("Only a hub repository has revisions.")})


def figure_errors(
    entry: Hyperparameter,
    method: str,
    default: Any,
    minimum: float | None,
    maximum: float | None,
    choices: Any,
) -> dict[str, str]:
    """What is wrong with the figures of one offered hyperparameter: field name to message, empty if
    nothing is.

    Nothing passes that the trainer would refuse later: both ends of a range and every choice lie within
    its limits, and the default lies within what is offered.
    """
    if method not in entry.limits.methods:
        return {"key": _("This hyperparameter has no meaning for this training method.")}
    errors = _range_errors(entry, minimum, maximum, choices)
    if choices is not None and "choices" not in errors:
        message = _choices_error(entry, choices)
        if message:
            errors["choices"] = message
    if not errors:
        try:
            check_bounds(parse(entry.kind, default), minimum, maximum, choices)
        except InvalidValue as error:
            errors["default"] = str(error)
    return errors


def _range_errors(
    entry: Hyperparameter, minimum: float | None, maximum: float | None, choices: Any
) -> dict[str, str]:
    errors = {}
    if not entry.kind.is_number:
        if minimum is not None or maximum is not None:
            errors["minimum" if minimum is not None else "maximum"] = _("Only numbers have a range.")
        if choices is None:
            errors["choices"] = _("Give the texts that may be chosen.")
        return errors
    if choices is not None and (minimum is not None or maximum is not None):
        errors["choices"] = _("Give either a range or choices, not both.")
    if choices is None:
        for name, bound in (("minimum", minimum), ("maximum", maximum)):
            if bound is None:
                errors[name] = _("Give a minimum and a maximum, or choices.")
            elif message := _limit_error(entry, bound):
                errors[name] = message
        if minimum is not None and maximum is not None and minimum > maximum:
            errors["maximum"] = _("The maximum is smaller than the minimum.")
    return errors


def _choices_error(entry: Hyperparameter, choices: Any) -> str:
    """A message about a list of choices, or an empty text."""
    if not isinstance(choices, list) or not choices:
        return _("Enter a list of at least one choice, for example [2, 4, 8].")
    if len({str(choice) for choice in choices}) < len(choices):
        return _("Every choice may stand there once.")
    if entry.kind.is_number:
        wanted = int if entry.kind is Kind.INTEGER else (int, float)
        if any(isinstance(choice, bool) or not isinstance(choice, wanted) for choice in choices):
            return _("Every choice must be a number that this hyperparameter can take.")
        return next(filter(None, (_limit_error(entry, choice) for choice in choices)), "")
    unknown = [str(choice) for choice in choices if choice not in entry.choice_values]
    if unknown:
        return _("%(unknown)s is not possible here. Possible: %(possible)s.") % {
            "unknown": ", ".join(unknown),
            "possible": ", ".join(entry.choice_values),
        }
    return ""


def _limit_error(entry: Hyperparameter, number: float) -> str:
    """A message if the trainer would refuse the number, or an empty text. Bounds are kept as floats."""
    whole = entry.kind is Kind.INTEGER and float(number).is_integer()
    problem = check_value(entry.limits, int(number) if whole else number)
    return problems.message(problem) if problem else ""


def parsed_default(entry: Hyperparameter, default: Any) -> Value:
    """The default in the one form in which it is stored."""
    return parse(entry.kind, default)


def together_errors(offered: Sequence[Offered]) -> dict[str, str]:
    """What is wrong with the hyperparameters of one offer as a whole: key to message.

    One whose condition names another must come with it, and with a value under which it shows; and the
    defaults must pass the trainer together.
    """
    by_key: Mapping[str, Offered] = {item.key: item for item in offered}
    errors = {}
    for item in offered:
        for decider, accepted in HYPERPARAMETERS[item.key].when.items():
            if decider not in by_key:
                errors[item.key] = _("It shows only with %(decider)s, which this offer does not have.") % {
                    "decider": decider
                }
            elif not set(accepted) & set(map(str, by_key[decider].choices or [])):
                errors[item.key] = _(
                    "It shows only where %(decider)s is %(values)s, which this offer excludes."
                ) % {
                    "decider": decider,
                    "values": ", ".join(accepted),
                }
    if offered and not errors:
        visible = visible_keys(offered, {})
        errors = conflicts(offered[0].method, {key: by_key[key].default for key in visible})
    return errors
