"""The form that mends a bad record."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from datasets import pictures, repairs
from datasets.models import DatasetVersion
from datasets.problems import Problem


class RepairForm(forms.Form):
    """The record as it stands in the file; with a picture where rows have one."""

    record = forms.CharField(
        label=_("Record"),
        strip=False,
        help_text=_(
            "As it stands in the file; a row of a table as JSON, with the names of its columns as keys."
        ),
        widget=forms.Textarea(attrs={"rows": 12, "class": "problem-record", "spellcheck": "false"}),
    )
    picture = forms.FileField(
        label=_("Picture"),
        required=False,
        help_text=_("Only if the picture is missing, or is to be another one."),
        widget=forms.FileInput(attrs={"accept": ",".join(pictures.EXTENSIONS)}),
    )

    def __init__(self, *args: Any, version: DatasetVersion, problem: Problem, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["record"].initial = problem.get("record", "")
        if not repairs.takes_picture(version):
            del self.fields["picture"]
