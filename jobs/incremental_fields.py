"""The fields of 增量训练, for the form of a run: the switch, the base run, its step, the share of its data."""

from __future__ import annotations

from functools import cached_property

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.values import InvalidValue, Kind, format_number, parse
from console.models import Workspace
from jobs.data_rules import rules_for
from jobs.incremental import (
    MIX_DEFAULT,
    MIX_RANGE,
    Base,
    default_step,
    find_base,
    obstacle,
    offered_bases,
    startable_steps,
)
from jobs.model_choice import ModelChoice
from jobs.models import Run

Problems = dict[str, list[str]]
# The value of the result of a run that is done, among its steps.
RESULT = "result"


class IncrementalFields(forms.Form):
    """A base run is named by its uid. What was typed is kept while the switch is off."""

    incremental = forms.BooleanField(
        label=gettext_lazy("Incremental training"),
        help_text=gettext_lazy(
            "Starts from the result of an earlier run instead of the base model. The base must come from a run "
            "with full-parameter training."
        ),
        required=False,
    )
    base_run = forms.CharField(
        label=gettext_lazy("Base run"),
        help_text=gettext_lazy(
            "The base model and its version are those of the base run and cannot be changed."
        ),
        required=False,
    )
    base_step = forms.CharField(label=gettext_lazy("Start from"), required=False)
    base_mix = forms.CharField(
        label=gettext_lazy("Share of the base run's data"),
        help_text=gettext_lazy(
            "So many percent of the rows that the base run was trained on are mixed in, drawn at random, so that "
            "what it has learned is kept."
        ),
        required=False,
        widget=forms.NumberInput(
            attrs={"step": "any", "min": format_number(MIX_RANGE[0]), "max": format_number(MIX_RANGE[1])}
        ),
    )

    typed: QueryDict
    workspace: Workspace
    choice: ModelChoice
    submitted: bool

    @property
    def is_incremental(self) -> bool:
        return bool(self.typed.get("incremental"))

    @cached_property
    def offered_bases(self) -> list[Base]:
        return offered_bases(self.workspace, self.choice.model_type)

    @cached_property
    def chosen_base(self) -> Run | None:
        """The run that is named, whether or not it may be built on; None while the switch is off."""
        uid = self.typed.get("base_run", "").replace("\0", "")
        return find_base(self.workspace, uid) if self.is_incremental and uid else None

    @property
    def shown_base(self) -> Run | None:
        """The chosen run, unless another job type was chosen after it."""
        base = self.chosen_base
        return base if base and base.job.model_type == self.choice.model_type else None

    @property
    def base_choices(self) -> list[Base]:
        """The offered runs; also the chosen one where it is not among them (any more)."""
        chosen = self.shown_base
        if chosen is None or any(base.run == chosen for base in self.offered_bases):
            return self.offered_bases
        return [*self.offered_bases, Base(chosen, obstacle(chosen))]

    @property
    def mixes_base(self) -> bool:
        """Whether rows of the chosen run can be trained on again: they are of the kind that the method reads."""
        base = self.shown_base
        if base is None or self.choice.offer is None:
            return True
        own = rules_for(self.choice.model_type, self.choice.offer.method)
        return own.row_type == rules_for(self.choice.model_type, base.method).row_type

    @property
    def base_steps(self) -> list[tuple[str, str, bool]]:
        """Value, text and whether it is chosen, of the states of the base run that training may start from."""
        if self.chosen_base is None:
            return []
        chosen = self._read_base_step({})
        return [
            (
                RESULT if step is None else str(step),
                _("Result of the run (step %(step)d)") % {"step": self.chosen_base.step}
                if step is None
                else _("Checkpoint at step %(step)d") % {"step": step},
                step == chosen,
            )
            for step in startable_steps(self.chosen_base)
        ]

    def read_base(self, errors: Problems) -> tuple[Run | None, int | None, float]:
        """Base run, step and share; what cannot be read goes to `errors`."""
        if not self.is_incremental:
            return None, None, MIX_DEFAULT
        base = self.chosen_base if self.submitted else self.shown_base
        uid = "" if self.chosen_base else self.typed.get("base_run", "")
        if base is None:
            errors["base_run"] = [
                _("%(uid)s is not a run of this workspace.") % {"uid": uid}
                if uid
                else _("Choose a base run.")
            ]
        share = MIX_DEFAULT
        try:
            share = float(str(parse(Kind.FLOAT, self.typed.get("base_mix", format_number(MIX_DEFAULT)))))
        except InvalidValue as error:
            errors["base_mix"] = [str(error)]
        return base, self._read_base_step(errors) if base else None, share

    def _read_base_step(self, errors: Problems) -> int | None:
        """None is the result of the base run. Steps of another run, chosen before, give way to the default."""
        base, text = self.chosen_base, self.typed.get("base_step", "")
        if base is None or text == RESULT:
            return None
        if not text or self.typed.get("step_of", base.uid) != base.uid:
            return default_step(base)
        if text.isascii() and text.isdecimal() and len(text) < 19:
            return int(text)
        errors["base_step"] = [_("Enter a whole number.")]
        return None


def typed_base(run: Run) -> dict[str, str]:
    """A run's base as somebody would have typed it."""
    if run.base_run is None:
        return {}
    return {
        "incremental": "on",
        "base_run": run.base_run.uid,
        "base_step": RESULT if run.base_step is None else str(run.base_step),
        "base_mix": format_number(run.base_mix),
    }
