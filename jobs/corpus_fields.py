"""The fields of 混合训练, for the form of a run: the switch, which general corpus, how much of it."""

from __future__ import annotations

from functools import cached_property

from django import forms
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from catalog.values import InvalidValue, Kind, format_number, parse
from datasets.models import SharedData, SharedKind
from jobs.data_rules import CORPUS_RATIO_DEFAULT, CORPUS_RATIO_RANGE, rules_for
from jobs.model_choice import ModelChoice
from jobs.models import Run

Problems = dict[str, list[str]]


class CorpusFields(forms.Form):
    """A corpus is named by its version's uid. The ratio is typed as people say it, 1 : 5, by its second number:
    so many rows of own data for one of the corpus."""

    with_corpus = forms.BooleanField(
        label=gettext_lazy("Mix in a general corpus"),
        help_text=gettext_lazy(
            "Rows of a general corpus beside your own keep what the model can do in general. They count as "
            "training data, in time and price too."
        ),
        required=False,
    )
    corpus = forms.CharField(label=gettext_lazy("General corpus"), required=False)
    corpus_parts = forms.CharField(
        label=gettext_lazy("Corpus : own data"),
        help_text=gettext_lazy("1 : 5 is recommended: one row of the corpus for five of your own."),
        required=False,
        widget=forms.NumberInput(
            attrs={
                "step": "any",
                "min": format_number(1 / CORPUS_RATIO_RANGE[1]),
                "max": format_number(1 / CORPUS_RATIO_RANGE[0]),
            }
        ),
    )

    typed: QueryDict
    choice: ModelChoice

    @cached_property
    def offered_corpora(self) -> list[SharedData]:
        """The general corpora that the chosen type can be trained with."""
        rules = rules_for(self.choice.model_type, self.choice.offer.method if self.choice.offer else "")
        if not rules.allows_mixing:
            return []
        shared = SharedData.objects.filter(
            kind=SharedKind.CORPUS, enabled=True, version__dataset__row_type=rules.row_type
        )
        return list(shared.select_related("version__dataset"))

    @property
    def has_corpus(self) -> bool:
        return bool(self.typed.get("with_corpus"))

    @cached_property
    def chosen_corpus(self) -> SharedData | None:
        """The corpus that is named, else the first; None while the switch is off or where the name is unknown."""
        if not self.has_corpus:
            return None
        uid = self.typed.get("corpus", "")
        named = [corpus for corpus in self.offered_corpora if uid in ("", corpus.version.uid)]
        return named[0] if named else None

    def read_corpus(self, errors: Problems) -> tuple[SharedData | None, float]:
        """The corpus and its rows for each own row; what cannot be read goes to `errors`."""
        if not self.has_corpus:
            return None, CORPUS_RATIO_DEFAULT
        if self.chosen_corpus is None:
            errors["corpus"] = [_("This general corpus is not offered for this job type.")]
        try:
            parts = float(str(parse(Kind.FLOAT, self.typed.get("corpus_parts", _default_parts()))))
        except InvalidValue as error:
            errors["corpus_ratio"] = [str(error)]
            return self.chosen_corpus, CORPUS_RATIO_DEFAULT
        return self.chosen_corpus, 1 / parts if parts > 0 else 0.0


def _default_parts() -> str:
    return as_parts(CORPUS_RATIO_DEFAULT)


def as_parts(ratio: float) -> str:
    """The n of 1 : n."""
    return format_number(float(f"{1 / ratio:.12g}")) if ratio else "0"


def typed_corpus(run: Run) -> dict[str, str]:
    """A run's corpus as somebody would have typed it."""
    if run.corpus is None:
        return {}
    return {
        "with_corpus": "on",
        "corpus": run.corpus.version.uid,
        "corpus_parts": as_parts(run.corpus_ratio),
    }
