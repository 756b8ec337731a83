"""The data files in catalog/data: what the catalogue offers as it comes.

`profiles.toml` explains the form of the hyperparameter sets; every other file is one family with its
versions. A file with an unknown word, a missing figure or a value of the wrong type does not load:
`DataFileError` says which file and where.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from catalog.hyperparameters import HYPERPARAMETERS
from catalog.methods import METHODS
from jobs.training.trainers import SFT, method_of, mode_of

DIRECTORY = Path(__file__).parent / "data"


class DataFileError(Exception):
    """A data file that cannot be used; the text names the file and the place."""


class Figure(msgspec.Struct, forbid_unknown_fields=True):
    """What one line about a hyperparameter says; a line of a later layer replaces only what it names."""

    default: Any = None
    range: tuple[float, float] | None = None
    choices: list[Any] | None = None
    source: str | None = None
    advanced: bool | None = None


class Text(msgspec.Struct, forbid_unknown_fields=True):
    """Texts of one hyperparameter or method that replace the general ones; blank ones replace nothing."""

    label_zh: str = ""
    label_en: str = ""
    help_zh: str = ""
    help_en: str = ""


Figures = dict[str, Figure]


class Layer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What profiles and versions alike say about hyperparameters; `keys` and `figures_for` go by method."""

    source: str = ""
    keys: dict[str, list[str]] = {}
    without: list[str] = []
    figures: Figures = {}
    figures_for: dict[str, Figures] = {}
    texts: dict[str, Text] = {}


class Profile(Layer, kw_only=True, forbid_unknown_fields=True):
    """A hyperparameter set in profiles.toml."""

    extends: str = ""


class Version(Layer, kw_only=True, forbid_unknown_fields=True):
    """One base model in its family's file. `methods` are the keys of the methods that it is offered with, and `modes`
    what it learns from; the seed's tables are those of SFT. `further_methods`, in one of these modes, are offered
    beside them.
    """

    name: str
    profile: str
    methods: list[str]
    further_methods: list[str] = []
    modes: tuple[str, ...] = (SFT,)
    architecture: str
    runs_on: str
    context_length: int | None = None
    parameter_count: int | None = None
    is_stand_in: bool = False
    name_en: str = ""
    description_zh: str = ""
    description_en: str = ""
    license_zh: str = ""
    license_en: str = ""


class Family(msgspec.Struct, forbid_unknown_fields=True):
    """One family's file; families are shown in the order of `order`."""

    key: str
    name: str
    model_type: str
    order: int
    versions: list[Version]
    name_en: str = ""
    description_zh: str = ""
    description_en: str = ""


@dataclass(frozen=True, slots=True)
class HyperparameterRow:
    """One hyperparameter of one offer, all layers put together."""

    key: str
    default: Any
    minimum: float | None
    maximum: float | None
    choices: list[Any] | None
    source: str
    advanced: bool | None
    text: Text


@dataclass(frozen=True, slots=True)
class OfferRow:
    """One base model under one method."""

    method: str
    text: Text
    hyperparameters: list[HyperparameterRow]


def read_families(directory: Path = DIRECTORY) -> list[Family]:
    """Every family, in the order in which they are shown."""
    paths = sorted(path for path in directory.glob("*.toml") if path.name != "profiles.toml")
    return sorted((_read(path, Family) for path in paths), key=lambda family: family.order)


def read_profiles(directory: Path = DIRECTORY) -> dict[str, Profile]:
    """Every profile by name."""
    return _read(directory / "profiles.toml", dict[str, Profile])


def offer_rows(version: Version, profiles: dict[str, Profile]) -> list[OfferRow]:
    """The offers of a version, each with its hyperparameters in the order shown."""
    layers = _layers(version, profiles)
    return [
        OfferRow(
            method,
            _text(layers, method),
            [_row(version, method, key, layers) for key in _keys(layers, method)],
        )
        for method in methods_of(version)
    ]


def methods_of(version: Version) -> list[str]:
    """The methods of a version, mode by mode."""
    methods = [method_of(mode, scale) for mode in version.modes for scale in version.methods]
    return sorted(
        [*methods, *version.further_methods], key=lambda method: version.modes.index(mode_of(method))
    )


def _read(path: Path, shape: Any) -> Any:
    try:
        with path.open("rb") as file:
            return msgspec.convert(tomllib.load(file), shape)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise DataFileError(f"{path.name}: {error}") from error


def _layers(version: Version, profiles: dict[str, Profile]) -> list[Layer]:
    """What a version is made of, from the most general profile to the version itself."""
    layers: list[Layer] = [version]
    name = version.profile
    while name:
        if name not in profiles or profiles[name] in layers:
            raise DataFileError(f"{version.name}: there is no profile {name}, or it extends itself")
        layers.insert(0, profiles[name])
        name = profiles[name].extends
    for layer in layers:
        _check_names(version, layer)
    return layers


def _check_names(version: Version, layer: Layer) -> None:
    """Raise DataFileError for a hyperparameter or method that does not exist: it would be ignored
    silently."""
    figures = [layer.figures, *layer.figures_for.values()]
    keys = {key for named in (*layer.keys.values(), *figures, layer.without) for key in named}
    methods = {*layer.keys, *layer.figures_for, *methods_of(version)}
    unknown = (keys - set(HYPERPARAMETERS)) | (methods - set(METHODS))
    unknown |= set(layer.texts) - set(HYPERPARAMETERS) - set(METHODS)
    if unknown:
        raise DataFileError(f"{version.name}: there is no {', '.join(sorted(unknown))}")


def _keys(layers: list[Layer], method: str) -> list[str]:
    keys = next(
        (
            layer.keys[name]
            for name in _said_under(method)
            for layer in reversed(layers)
            if name in layer.keys
        ),
        [],
    )
    dropped = {key for layer in layers for key in layer.without}
    return [key for key in keys if key not in dropped]


def _said_under(method: str) -> list[str]:
    """The methods under whose names something is said that holds for this one, its own first."""
    return [name for name in (method, METHODS[method].like) if name]


def _row(version: Version, method: str, key: str, layers: list[Layer]) -> HyperparameterRow:
    figure = Figure()
    for layer in layers:
        for figures in (
            layer.figures,
            *(layer.figures_for.get(name, {}) for name in reversed(_said_under(method))),
        ):
            if key in figures:
                figure = _over(figures[key], figure, layer.source)
    if figure.default is None or (figure.range is None and figure.choices is None):
        raise DataFileError(f"{version.name}, {method}, {key}: no default, or neither range nor choices")
    low, high = figure.range or (None, None)
    return HyperparameterRow(
        key=key,
        default=figure.default,
        minimum=low,
        maximum=high,
        choices=figure.choices,
        source=figure.source or "",
        advanced=figure.advanced,
        text=_text(layers, key),
    )


def _over(figure: Figure, under: Figure, source: str) -> Figure:
    """`figure` with what it does not say taken from `under`; a range replaces choices and the reverse.
    The source is the figure's own, or that of the layer it stands in, or what it was."""
    has_bounds = figure.range is not None or figure.choices is not None
    return Figure(
        default=under.default if figure.default is None else figure.default,
        range=figure.range if has_bounds else under.range,
        choices=figure.choices if has_bounds else under.choices,
        source=figure.source or source or under.source,
        advanced=under.advanced if figure.advanced is None else figure.advanced,
    )


def _text(layers: list[Layer], key: str) -> Text:
    """The texts about a hyperparameter or method, the last word on each counting."""
    texts = [layer.texts[key] for layer in layers if key in layer.texts]
    return Text(
        **{
            name: next((text for own in reversed(texts) if (text := getattr(own, name))), "")
            for name in Text.__struct_fields__
        }
    )
