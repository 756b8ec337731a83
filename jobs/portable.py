"""A run's configuration as JSON: copied from one run, pasted into the form of another, kept in a file.

Schema 1 is one object. Every key but `schema` may be left out; what is not given stays as it is in the form.

    {
      "schema": 1,
      "name": "support bot", "type": "text2text", "description": "…",   (of the job)
      "base_model": "ERNIE-Speed-8K", "method": "LoRA",
      "hyperparameters": {"epoch": 3, "learningRate": 0.0003, …},       (keys of catalog.hyperparameters)
      "sources": [{"version": "dv-…", "name": "chats V1", "sampling_rate": 1}, …],
      …                                                                 (FIELDS below, named as in the form)
    }

`name` beside a version is for people and not read. The values are those of the form (jobs.forms), so whether
a run may start with them is decided where it always is: a value out of its range is filled in and refused
when it is submitted. Refused at once is what cannot be filled in: unknown keys, wrong types, models that
are not offered here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q
from django.http import QueryDict
from django.utils.translation import gettext as _

from catalog.hyperparameters import HYPERPARAMETERS
from catalog.models import BaseModel, ModelType, Offer
from catalog.values import format_number
from console.models import Workspace
from datasets.models import DatasetVersion, SharedData, SharedKind, VersionState
from jobs.hyperparameter_fields import PREFIX, as_text
from jobs.models import Pool, Run
from jobs.reading import typed_from

SCHEMA = 1
MAX_CHARACTERS = 200_000

# The form's single fields, and the JSON type of each: str, float (any number), bool (a checkbox).
FIELDS: dict[str, type] = {
    "name": str,
    "type": str,
    "description": str,
    "base_model": str,
    "method": str,
    "incremental": bool,
    "base_run": str,
    "base_step": str,
    "base_mix": float,
    "with_corpus": bool,
    "corpus": str,
    "corpus_parts": float,
    "split_ratio": float,
    "test_source": str,
    "pool": str,
    "devices": float,
    "idle": bool,
    "auto_publish": bool,
    "model_name": str,
}
KEYS = ("schema", *FIELDS, "hyperparameters", "sources")


class Unreadable(Exception):
    """A text that is no configuration; `problems` says where and why, a sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(problems)
        self.problems = problems


@dataclass
class Reading:
    """A configuration as the form would have been typed, and what of it could not be taken over.

    `given` are the top-level keys that it had.
    """

    typed: QueryDict = field(default_factory=lambda: QueryDict(mutable=True))
    given: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)


def to_dict(run: Run) -> dict[str, Any]:
    """The configuration of a run in schema 1."""
    typed = typed_from(run)
    typed["name"] = run.job.name
    typed["type"] = run.job.model_type
    typed["description"] = run.job.description
    out: dict[str, Any] = {"schema": SCHEMA}
    for key, kind in FIELDS.items():
        if kind is bool:
            out[key] = key in typed
        elif key in typed and typed[key] != "":
            out[key] = _number(str(typed[key])) if kind is float else typed[key]
    out["hyperparameters"] = run.hyperparameters
    out["sources"] = [
        {
            "version": source.version.uid,
            "name": source.version.label_in(run.job.workspace_id),
            "sampling_rate": source.sampling_rate,
        }
        for source in run.sources.select_related("version__dataset")
    ]
    return out


def to_text(run: Run) -> str:
    return json.dumps(to_dict(run), ensure_ascii=False, indent=2)


def _number(text: str) -> int | float:
    value = float(text)
    return int(value) if value.is_integer() else value


def from_text(text: str, workspace: Workspace) -> Reading:
    """Reads a pasted configuration. Raises Unreadable; for broken JSON with line and column."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable([_("This is too long for a configuration.")])
    try:
        data = json.loads(
            text.removeprefix("\ufeff"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except json.JSONDecodeError as error:
        message = _("Line %(line)d, column %(column)d: this is not valid JSON (%(reason)s).")
        raise Unreadable(
            [message % {"line": error.lineno, "column": error.colno, "reason": error.msg}]
        ) from error
    except (ValueError, RecursionError) as error:  # numbers with thousands of digits, endless nesting
        raise Unreadable([_("This JSON holds more than a configuration can.")]) from error
    return from_dict(data, workspace)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys occur once each: of two values, nobody could say which was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _value in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise Unreadable([_("%(key)s: is given twice.") % {"key": key} for key in twice])
    return found


def _refuse_constant(name: str) -> None:
    raise Unreadable([_("%(value)s is not a number that JSON knows.") % {"value": name}])


def from_dict(data: object, workspace: Workspace) -> Reading:
    """Reads a configuration into values of the form. Raises Unreadable with every problem found."""
    if not isinstance(data, dict):
        raise Unreadable([_("A configuration is a JSON object: { … }.")])
    reader = _Reader(data, workspace)
    reader.read()
    if reader.problems:
        raise Unreadable(reader.problems)
    return reader.reading


class _Reader:
    """One pass over one configuration, collecting problems."""

    def __init__(self, data: dict[str, Any], workspace: Workspace) -> None:
        self.data = data
        self.workspace = workspace
        self.problems: list[str] = []
        self.reading = Reading(given=set(data))

    def read(self) -> None:
        unknown = [key for key in self.data if key not in KEYS]
        self.problems += [_("%(key)s: is not known.") % {"key": key} for key in unknown]
        if self.data.get("schema") != SCHEMA:
            self._complain("schema", _("must be %(schema)d.") % {"schema": SCHEMA})
        for key, kind in FIELDS.items():
            if key in self.data:
                self._read_field(key, kind)
        if "type" in self.data and self.data["type"] not in ModelType.values:
            self._complain("type", _("must be one of %(values)s.") % {"values": ", ".join(ModelType.values)})
        self._read_hyperparameters(self._read_offer())
        self._read_sources()
        self._check_references()

    def _complain(self, place: str, message: str) -> None:
        self.problems.append(f"{place}: {message}")

    def _read_field(self, key: str, kind: type) -> None:
        value, typed = self.data[key], self.reading.typed
        if kind is bool:
            if not isinstance(value, bool):
                self._complain(key, _("must be true or false."))
            elif value:
                typed[key] = "on"
        elif kind is float:
            if not _is_number(value):
                self._complain(key, _("must be a number."))
            else:
                typed[key] = format_number(value)
        elif not isinstance(value, str):
            self._complain(key, _("must be a text."))
        else:
            typed[key] = value.replace("\0", "")  # PostgreSQL cannot even be asked for one

    def _read_offer(self) -> Offer | None:
        """The offer that model and method name; complains about a model or method that is not offered."""
        name, method = self.data.get("base_model"), self.data.get("method")
        if not isinstance(name, str) or "\0" in name:
            return None
        if not BaseModel.objects.filter(name=name, enabled=True).exists():
            self._complain("base_model", _("%(name)s is not offered here.") % {"name": name})
            return None
        if not isinstance(method, str) or "\0" in method:
            return None
        offer = Offer.objects.filter(base_model__name=name, method=method, enabled=True).first()
        if offer is None:
            message = _("%(method)s is not offered for %(name)s.")
            self._complain("method", message % {"method": method, "name": name})
        return offer

    def _read_hyperparameters(self, offer: Offer | None) -> None:
        given = self.data.get("hyperparameters", {})
        if not isinstance(given, dict):
            self._complain("hyperparameters", _("must be an object."))
            return
        offered = set(offer.hyperparameters.values_list("key", flat=True)) if offer else None
        for key, value in given.items():
            place = f"hyperparameters.{key}"
            if key not in HYPERPARAMETERS:
                self._complain(place, _("is not known."))
            elif not _is_plain(value):
                self._complain(place, _("must be a number, a text, true, false or a list of texts."))
            elif offered is not None and key not in offered:
                message = _("%(key)s is not a hyperparameter of this model and method; it was left out.")
                self.reading.warnings.append(message % {"key": key})
            else:
                text = as_text(value)
                self.reading.typed.setlist(PREFIX + key, text if isinstance(text, list) else [text])
        if offer and "hyperparameters" in self.data:
            # The form keeps values for the offer that they were typed for as they are, right or wrong.
            self.reading.typed["offer"] = str(offer.pk)

    def _read_sources(self) -> None:
        given = self.data.get("sources", [])
        if not isinstance(given, list):
            self._complain("sources", _("must be a list."))
            return
        for number, source in enumerate(given):
            self._read_source(f"sources[{number}]", source)
        self._check_versions()

    def _read_source(self, place: str, source: object) -> None:
        if not isinstance(source, dict):
            self._complain(place, _("must be an object."))
            return
        for key in source:
            if key not in ("version", "name", "sampling_rate"):
                self._complain(f"{place}.{key}", _("is not known."))
        uid, rate = source.get("version"), source.get("sampling_rate", 1)
        if not isinstance(uid, str) or not uid:
            self._complain(f"{place}.version", _("must be the identifier of a dataset version."))
        elif not _is_number(rate):
            self._complain(f"{place}.sampling_rate", _("must be a number."))
        else:
            uid = uid.replace("\0", "")
            self.reading.typed.appendlist("source", uid)
            self.reading.typed[f"rate-{uid}"] = format_number(rate)

    def _check_references(self) -> None:
        """Warns about a base run, corpus or pool that is not there, and takes it out: the form shows only
        what can be chosen, and would drop it without a word."""
        typed = self.reading.typed
        runs = Run.objects.filter(job__workspace=self.workspace, uid=typed.get("base_run", ""))
        corpora = SharedData.objects.filter(kind=SharedKind.CORPUS, enabled=True)
        corpora = corpora.filter(version__uid=typed.get("corpus", ""))
        pools = Pool.objects.filter(queue=typed.get("pool", ""), enabled=True)
        for key, switch, found in (
            ("base_run", "incremental", runs),
            ("corpus", "with_corpus", corpora),
            ("pool", "idle", pools),
        ):
            value = typed.get(key, "")
            if not value or found.exists():
                continue
            message = _("%(key)s: %(value)s is not available here; it was left out.")
            self.reading.warnings.append(message % {"key": key, "value": value})
            for name in (key, switch):
                typed.pop(name, None)

    def _check_versions(self) -> None:
        """Warns about dataset versions that cannot be chosen here, and takes them out."""
        typed = self.reading.typed
        named = {*typed.getlist("source"), *filter(None, typed.getlist("test_source"))}
        offered = Q(dataset__workspace=self.workspace) | Q(
            shared__kind=SharedKind.PRESET, shared__enabled=True
        )
        published = DatasetVersion.objects.filter(offered, state=VersionState.PUBLISHED, uid__in=named)
        known = set(published.values_list("uid", flat=True))
        names = {
            source["version"]: source.get("name")
            for source in self.data.get("sources", [])
            if isinstance(source, dict) and isinstance(source.get("version"), str)
        }
        for uid in sorted(named - known):
            message = _("%(version)s is not a published dataset version of this workspace; choose another.")
            self.reading.warnings.append(message % {"version": names.get(uid) or uid})
        typed.setlist("source", [uid for uid in typed.getlist("source") if uid in known])
        if typed.get("test_source") and typed["test_source"] not in known:
            del typed["test_source"]


def merged(typed: QueryDict, reading: Reading) -> QueryDict:
    """The form as it stood with the configuration filled in: what this gives replaces what was there.

    A name that was typed stays: two jobs cannot have one name.
    """
    out = typed.copy()
    given = reading.given - ({"name"} if typed.get("name", "").strip() else set())
    for name in list(out):
        is_replaced = (
            name in ("paste", "configuration", "configuration_file")
            or name in given
            or ("hyperparameters" in given and name.startswith(PREFIX))
            or ("sources" in given and (name == "source" or name.startswith("rate-")))
            or ("base_model" in given and name in ("family", "offer", "type"))
            or ("method" in given and name == "mode")
        )
        if is_replaced:
            del out[name]
    for name, values in reading.typed.lists():
        if name in FIELDS and name not in given:
            continue
        out.setlist(name, values)
    return out


def _is_number(value: object) -> bool:
    """Whether it is a number that a form can hold: JSON's may have any length, and 1e999 is read as infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, str) for part in value)
    return isinstance(value, str | bool) or _is_number(value)
