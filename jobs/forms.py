"""The form of a run: 创建训练作业 and 新建任务. It reads a configuration from what was typed; whether that may
start, jobs.configuration decides.

The same class serves three ends: the page as it opens (nothing typed, or the job's latest run), the parts
that htmx swaps while somebody fills it in (typed, without complaints), and the form as it is submitted.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

from django import forms
from django.http import QueryDict
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.hyperparameters import clean, visible_keys
from catalog.models import BaseModel, ModelType, OfferedHyperparameter
from catalog.values import InvalidValue, Kind, format_number, parse
from console.models import Workspace
from datasets.mixing import TEST_ROWS, Source
from datasets.models import DatasetVersion, VersionState
from jobs.configuration import Configuration, Problems, problems
from jobs.corpus_fields import CorpusFields, as_parts
from jobs.data_rules import CORPUS_RATIO_DEFAULT, RECOMMENDED_RATE, SAMPLING_RATE_RANGE
from jobs.hyperparameter_fields import (
    PREFIX,
    ShownHyperparameter,
    as_text,
    carried_over,
    form_field,
    is_default,
    read_typed,
)
from jobs.incremental import MIX_DEFAULT
from jobs.incremental_fields import IncrementalFields
from jobs.loads import missing_package
from jobs.model_choice import ModelChoice, choose, is_named, named_method
from jobs.models import DESCRIPTION_LENGTH, NAME_LENGTH, Job, Run
from jobs.reading import active_run, latest_run, typed_from
from jobs.resources import ResourceFields
from jobs.source_fields import SourceFields

# Where jobs.configuration's word for a field is not the form's.
FIELD_OF_PROBLEM = {"sources": "source", "corpus_ratio": "corpus_parts"}


# The ids of the page's sections, from top to bottom.
SECTIONS = ("basics", "training", "data", "resources", "publish")


class DescriptionField(forms.CharField):
    """Text in several lines, counted as people see it: a line end is one character, and typing past the
    end is possible (the count turns red) rather than cut off."""

    widget = forms.Textarea(attrs={"rows": 3})

    def to_python(self, value: Any) -> str:
        return (super().to_python(value) or "").replace("\r\n", "\n")

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return {name: value for name, value in super().widget_attrs(widget).items() if name != "maxlength"}


class RunForm(IncrementalFields, SourceFields, CorpusFields, ResourceFields):
    """The whole page. Errors come from `jobs.configuration.problems`, so that API and form say the same.

    `typed` is what the browser sent, or an empty QueryDict for a page that opens. Only a `submitted` form
    is bound and has errors.
    """

    name = forms.CharField(
        label=gettext_lazy("Job name"),
        max_length=NAME_LENGTH[1],
        # As jobs.configuration says it.
        error_messages={"required": gettext_lazy("This field cannot be blank.")},
    )
    type = forms.ChoiceField(label=gettext_lazy("Job type"), choices=ModelType.choices, required=False)
    description = DescriptionField(
        label=gettext_lazy("Job description"), max_length=DESCRIPTION_LENGTH, required=False
    )
    family = forms.CharField(label=gettext_lazy("Base model"), required=False)
    base_model = forms.CharField(label=gettext_lazy("Base model version"), required=False)
    mode = forms.CharField(label=gettext_lazy("Training mode"), required=False)
    method = forms.CharField(label=gettext_lazy("Training method"), required=False)
    source = forms.Field(label=gettext_lazy("Training data"), required=False)
    split_ratio = forms.CharField(
        label=gettext_lazy("Share held out"),
        help_text=gettext_lazy(
            "So many percent of every chosen dataset version are not trained on, but tested on."
        ),
        required=False,
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    test_source = forms.ChoiceField(label=gettext_lazy("Test set"), required=False)
    auto_publish = forms.BooleanField(
        label=gettext_lazy("Publish automatically"),
        help_text=gettext_lazy("Publishes the model once training is done; not if training fails."),
        required=False,
    )
    model_name = forms.CharField(
        label=gettext_lazy("Model name"),
        help_text=gettext_lazy(
            "A new name makes a new model; the name of a model you have gives it its next version."
        ),
        required=False,
        widget=forms.TextInput(attrs={"list": "model-names", "autocomplete": "off"}),
    )

    # Limits that the page states.
    test_rows = TEST_ROWS
    lowest_rate, highest_rate = map(format_number, SAMPLING_RATE_RANGE)
    recommended_rate = format_number(RECOMMENDED_RATE)

    def __init__(
        self,
        workspace: Workspace,
        job: Job | None = None,
        typed: QueryDict | None = None,
        *,
        submitted: bool = False,
    ) -> None:
        self.workspace = workspace
        self.job = job
        self.submitted = submitted
        self.active_run = active_run(job)
        self.copied_from = None if typed else latest_run(job)
        self.typed = typed or (typed_from(self.copied_from) if self.copied_from else QueryDict())
        self.choice: ModelChoice = choose(
            self.typed,
            job.model_type if job else "",
            self.active_run.base_model.family_id if self.active_run else None,
            self.chosen_base.base_model_id if self.chosen_base else None,
        )
        self.offered: list[OfferedHyperparameter] = (
            list(self.choice.offer.hyperparameters.all()) if self.choice.offer else []
        )
        self.raw = self._raw_hyperparameters()
        self.visible = visible_keys(self.offered, self.raw)
        super().__init__(self._completed() if submitted else None, initial=self._initial())
        self._add_dependent_fields()

    # --- What was typed ------------------------------------------------------------------------------------

    def _raw_hyperparameters(self) -> dict[str, object]:
        """The typed hyperparameters, as far as they concern the offer that is chosen now.

        `offer` says for which offer the fields were shown; without it (a script's POST) they are taken as
        they are, and those of an earlier run as far as they still fit.
        """
        if "reset" in self.typed:
            return {}
        raw = read_typed(self.typed, self.offered)
        shown_for = self.typed.get("offer", "")
        if self.is_shown_for_another_offer:
            before = (
                OfferedHyperparameter.objects.filter(offer=int(shown_for)) if shown_for.isdecimal() else []
            )
            return carried_over(raw, self.offered, before)
        return raw if shown_for or self.submitted else carried_over(raw, self.offered)

    @property
    def is_shown_for_another_offer(self) -> bool:
        """Whether the hyperparameters that were on the screen belong to another model or method."""
        shown_for = self.typed.get("offer", "")
        return bool(shown_for and self.choice.offer and shown_for != str(self.choice.offer.pk))

    @cached_property
    def missing_package(self) -> str:
        """What the chosen method needs and no training machine has."""
        return missing_package(self.choice.offer.method) if self.choice.offer else ""

    @property
    def locking_run(self) -> Run | None:
        """The run to build on, where it decides the base model."""
        base = self.chosen_base
        return base if base and base.base_model == self.choice.base_model else None

    @property
    def has_model_in_basics(self) -> bool:
        """Seed, section 图理解大模型: 在【基本信息】模块，您可以 … 选择训练使用的基础模型和其版本."""
        return self.choice.model_type == ModelType.IMAGE_UNDERSTANDING

    @property
    def split_hint(self) -> str:
        """One line under the share that is held out: what is allowed, what holds without a choice."""
        rules = self.rules
        values = {
            "minimum": format_number(rules.split_range[0]),
            "maximum": format_number(rules.split_range[1]),
            "default": format_number(rules.split_default),
        }
        if rules.most_held_out is None:
            return _("%(minimum)s to %(maximum)s, default %(default)s") % values
        text = _("%(minimum)s to %(maximum)s, default %(default)s; at most %(rows)s rows are held out")
        return text % (values | {"rows": number_format(rules.most_held_out)})

    @property
    def data_for(self) -> str:
        """What the fields about data are for: a job type, and rows of one kind."""
        return f"{self.choice.model_type} {self.rules.row_type}"

    @property
    def _split_text(self) -> str:
        """The share as it was typed; the default of the type where there is none, or one for another type."""
        default = format_number(self.rules.split_default)
        is_for_another = self.typed.get("data_for", self.data_for) != self.data_for
        return default if is_for_another else self.typed.get("split_ratio", default)

    def _completed(self) -> QueryDict:
        """What was typed, with the values that hold where nothing was: a form that comes back shows them."""
        data = self.typed.copy()
        data["split_ratio"] = self._split_text
        data.setdefault("base_mix", format_number(MIX_DEFAULT))
        data.setdefault("corpus_parts", as_parts(CORPUS_RATIO_DEFAULT))
        for item in self.offered:
            text = as_text(self.raw.get(item.key, item.default))
            data.setlist(PREFIX + item.key, text if isinstance(text, list) else [text])
        return data

    def _initial(self) -> dict[str, Any]:
        typed = self.typed
        initial = {name: typed[name] for name in self.base_fields if name in typed}
        if self.job:
            initial["name"] = self.job.name
        initial["split_ratio"] = self._split_text
        initial.setdefault("base_mix", format_number(MIX_DEFAULT))
        initial.setdefault("corpus_parts", as_parts(CORPUS_RATIO_DEFAULT))
        return initial

    def _add_dependent_fields(self) -> None:
        """Adds a field for every visible hyperparameter and for the rate of every chosen source."""
        for item in self.offered:
            if item.key in self.visible:
                name = PREFIX + item.key
                self.fields[name] = form_field(item)
                value = as_text(self.raw.get(item.key, item.default))
                self.initial[name] = value == "True" if item.entry.kind is Kind.BOOLEAN else value
        for version in self.chosen_versions:
            label = _("Sampling rate of %(version)s") % {"version": self.label_of(version)}
            self.fields[f"rate-{version.uid}"] = forms.CharField(label=label, required=False)
        low, high = map(format_number, self.rules.split_range)
        self.fields["split_ratio"].widget.attrs |= {"min": low, "max": high}
        cast(forms.ChoiceField, self.fields["test_source"]).choices = lambda: self.test_sets
        if self.job:
            del self.fields["name"], self.fields["type"], self.fields["description"]
        # As they stand on the page: in this order errors are listed over it.
        self.order_fields(sorted(self.fields, key=self._place))

    # --- What it means -------------------------------------------------------------------------------------

    @cached_property
    def configuration(self) -> Configuration:
        """The run that is asked for, with the errors found while reading it.

        A form that is being filled in counts with what is preselected; a submitted one only with what it
        says itself.
        """
        typed, errors = self.typed, Problems()
        base_model, method = self.choice.base_model, self.choice.offer.method if self.choice.offer else ""
        if self.submitted:
            if message := self._stale_choice():
                errors["base_model"] = [message]
            elif self._breaks_a_lock:
                base_model = self._named_base_model()
            elif (
                not self.locking_run and base_model and not is_named(base_model, typed.get("base_model", ""))
            ):
                base_model = None
            method = named_method(typed) if typed.get("method") else ""
        values, complaints = clean(self.offered, self.raw)
        base_run, base_step, base_mix = self.read_base(errors)
        corpus, corpus_ratio = self.read_corpus(errors)
        errors |= {PREFIX + key: [message] for key, message in complaints.items()}
        return Configuration(
            name=self.job.name if self.job else self._text("name"),
            model_type=self.choice.model_type,
            description=self._text("description").replace("\r\n", "\n"),
            job=self.job,
            base_model=base_model,
            method=method,
            hyperparameters=values,
            sources=self._read_sources(errors),
            split_ratio=self._read_number("split_ratio", self._split_text, errors) or 0.0,
            test_version=self._read_test_version(errors),
            corpus=corpus,
            corpus_ratio=corpus_ratio,
            base_run=base_run,
            base_step=base_step,
            base_mix=base_mix,
            resources=self.read_resources(errors),
            auto_publish=bool(typed.get("auto_publish")),
            model_name=self._text("model_name"),
            errors=errors,
        )

    def _text(self, name: str) -> str:
        """A typed text as fields clean it; without NUL, which PostgreSQL cannot even be asked for."""
        return self.typed.get(name, "").replace("\0", "").strip()

    @property
    def _breaks_a_lock(self) -> bool:
        """Whether a base model was submitted that the run to build on or an active run rules out. The page offers
        none; jobs.configuration says why not, as to every other caller."""
        text, named = self.typed.get("base_model", ""), self._named_base_model()
        if text and self.locking_run and not is_named(self.locking_run.base_model, text):
            return True
        return bool(self.active_run and named and named.family_id != self.active_run.base_model.family_id)

    def _stale_choice(self) -> str:
        """Why the submitted model is not the one on the screen (without JavaScript the parts of the page
        may disagree), or an empty text."""
        family, named = self.choice.family, self.typed.get("base_model", "")
        if self._breaks_a_lock:
            return ""
        if named and self.choice.base_model and not is_named(self.choice.base_model, named):
            return _("%(name)s cannot be chosen here; the versions of %(family)s are below.") % {
                "name": named,
                "family": family,
            }
        if self.is_shown_for_another_offer:
            return _(
                "The hyperparameters below are those of the model and method chosen now. Look at them and submit again."
            )
        return ""

    def _named_base_model(self) -> BaseModel | None:
        """The base model that was submitted, whether or not it can be chosen at present."""
        named = self.typed.get("base_model", "")
        models = (offer.base_model for offer in self.choice.offers)
        return next((model for model in models if is_named(model, named)), None)

    def _read_number(self, name: str, text: str, errors: Problems) -> float | None:
        """The number in a field; None, and an error, where there is none."""
        try:
            return float(str(parse(Kind.FLOAT, text)))
        except InvalidValue as error:
            errors[name] = [str(error)]
            return None

    def _read_sources(self, errors: Problems) -> list[Source]:
        sources = []
        for version in self.chosen_versions:
            name = f"rate-{version.uid}"
            rate = self._read_number(name, self.typed.get(name, "1"), errors)
            if rate is not None:
                sources.append(Source(version, rate))
        counting = {version.uid: version for version in self.counting_versions}
        unknown = self.typed_sources - {version.uid for version in self.chosen_versions} - set(counting)
        if unknown or counting:
            errors["sources"] = [self._not_counted(version) for version in counting.values()]
            errors["sources"] += [self._not_published(uid) for uid in sorted(unknown)]
        return sources

    def _read_test_version(self, errors: Problems) -> DatasetVersion | None:
        uid = self.typed.get("test_source", "")
        found = self.usable_version(uid)
        if uid and found is None:
            errors["test_source"] = [self._not_published(uid)]
        return found

    def _not_counted(self, version: DatasetVersion) -> str:
        if version.state == VersionState.IMPORTING:
            return _("The rows of %(version)s are still being counted.") % {"version": version}
        return _("The rows of %(version)s could not be counted; its page says why.") % {"version": version}

    def _not_published(self, uid: str) -> str:
        return _("%(uid)s is not a published dataset version that this job type can use.") % {"uid": uid}

    @cached_property
    def problems(self) -> Problems:
        """What keeps the run from starting as it stands, by form field."""
        found = problems(self.workspace, self.configuration)
        return {FIELD_OF_PROBLEM.get(name, name): messages for name, messages in found.items()}

    def clean(self) -> dict[str, Any]:
        self.complain(self.problems)
        return self.cleaned_data

    def complain(self, found: Problems) -> None:
        """Puts problems at their fields, unless the field itself has complained already."""
        for name, messages in found.items():
            field = FIELD_OF_PROBLEM.get(name, name)
            if field not in self.fields:
                self.add_error(None, messages)
            elif field not in self.errors:
                self.add_error(field, messages)

    # --- What is shown -------------------------------------------------------------------------------------

    @cached_property
    def hyperparameters(self) -> list[ShownHyperparameter]:
        return [
            ShownHyperparameter(item, self[PREFIX + item.key], not is_default(item, self.raw))
            for item in self.offered
            if item.key in self.visible
        ]

    @property
    def has_folded(self) -> bool:
        return any(row.is_folded for row in self.hyperparameters)

    @property
    def is_fold_open(self) -> bool:
        """Open where something is wrong in it, else as it was left, else where something is changed in it."""
        folded = [row for row in self.hyperparameters if row.is_folded]
        if any(row.field.errors for row in folded):
            return True
        left = self.typed.get("advanced_open")
        return left == "1" if left else any(row.is_changed for row in folded)

    @property
    def hidden_hyperparameters(self) -> list[tuple[str, str]]:
        """Name and value of what was typed for fields that do not show at present, so that it is there
        again when they do."""
        hidden = [item for item in self.offered if item.key not in self.visible]
        kept = carried_over(self.raw, hidden)
        return [(PREFIX + key, str(value)) for key, value in kept.items()]

    @property
    def wrong_sections(self) -> set[str]:
        """The sections of the page (their ids) that hold errors."""
        return {self.section_of(name) for name in self.errors}

    def section_of(self, field: str) -> str:
        """The id of the section in which a field stands."""
        is_model = field in ("family", "base_model")
        return "basics" if is_model and self.has_model_in_basics else section_of(field)

    def _place(self, field: str) -> tuple[int, int]:
        """Where a field stands: its section, and the group in it."""
        within = 0 if field == "source" else 1 if field.startswith("rate-") else 2
        section = SECTIONS.index(self.section_of(field))
        return section, within if field not in ("test_source", "split_ratio") else 3


def section_of(field: str) -> str:
    """The id of the section in which a field stands; the model of an image understanding job stands in another."""
    if field in ("name", "type", "description"):
        return "basics"
    training = ("family", "base_model", "mode", "method", "incremental", "base_run", "base_step", "base_mix")
    if field in training or field.startswith(PREFIX):
        return "training"
    if field in ("pool", "devices", "idle"):
        return "resources"
    return "publish" if field in ("auto_publish", "model_name") else "data"
