"""The filter of the rows page: what people type into it, as a datasets.browsing.Query."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from datasets.browsing import BadPattern, Query, Span, check_pattern
from datasets.columns import LANGUAGES, ROW_FLAGS
from datasets.problems import KINDS

LANGUAGE_LABELS = {
    "zh": gettext_lazy("Chinese"),
    "en": gettext_lazy("English"),
    "mixed": gettext_lazy("Mixed"),
    "other": gettext_lazy("Other"),
}
_ANY = gettext_lazy("any")


def _whole(label: Any) -> forms.IntegerField:
    return forms.IntegerField(label=label, required=False, min_value=0, max_value=2**31 - 1)


class RowFilter(forms.Form):
    """All of it optional; `query` is what a valid form asks for."""

    q = forms.CharField(
        label=gettext_lazy("Search in the texts"), required=False, max_length=200, strip=False
    )
    regex = forms.BooleanField(label=gettext_lazy("Regular expression"), required=False)
    turns_min = _whole(gettext_lazy("Turns from"))
    turns_max = _whole(gettext_lazy("Turns to"))
    characters_min = _whole(gettext_lazy("Characters from"))
    characters_max = _whole(gettext_lazy("Characters to"))
    language = forms.ChoiceField(label=gettext_lazy("Language"), required=False)
    flag = forms.ChoiceField(label=gettext_lazy("Warning"), required=False)
    file = forms.ChoiceField(label=gettext_lazy("File"), required=False)

    def __init__(self, *args: Any, files: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.names = files
        self.fields["language"].choices = [("", _ANY), *((key, LANGUAGE_LABELS[key]) for key in LANGUAGES)]  # type: ignore[attr-defined]
        self.fields["flag"].choices = [("", _ANY), *((key, KINDS[key].title) for key in ROW_FLAGS)]  # type: ignore[attr-defined]
        self.fields["file"].choices = [("", _ANY), *((name, name) for name in files)]  # type: ignore[attr-defined]
        for name in ("turns_min", "turns_max", "characters_min", "characters_max"):
            self.fields[name].widget.attrs["inputmode"] = "numeric"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        for name in ("turns", "characters"):
            least, most = data.get(f"{name}_min"), data.get(f"{name}_max")
            if least is not None and most is not None and least > most:
                self.add_error(f"{name}_max", _("This must not be less than the number before it."))
        try:
            check_pattern(Query(data.get("q", ""), data.get("regex", False)))
        except BadPattern as error:
            words = _("This is no regular expression: %(reason)s") % {"reason": error}
            self.add_error("q", ValidationError(words))
        return data

    def query(self) -> Query:
        data = self.cleaned_data
        return Query(
            text=data["q"],
            is_pattern=data["regex"],
            turns=Span(data["turns_min"], data["turns_max"]),
            characters=Span(data["characters_min"], data["characters_max"]),
            language=data["language"],
            flag=data["flag"],
            file=data["file"],
        )
