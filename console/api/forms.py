"""The form of a new API key."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from console.models import ApiKey, Scope


class KeyForm(forms.ModelForm):
    """Name and scope; somebody who only reads in the workspace is offered no more than that."""

    class Meta:
        model = ApiKey
        fields = ("name", "scope")
        labels = {"name": _("Name"), "scope": _("What it may do")}
        help_texts = {"name": _("Which program or machine uses it, for example “nightly training”.")}

    def __init__(self, *args: Any, may_write: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scopes = (
            Scope.choices if may_write else [choice for choice in Scope.choices if choice[0] == Scope.READ]
        )
        self.fields["scope"] = forms.ChoiceField(
            label=self.fields["scope"].label,
            choices=scopes,
            initial=Scope.WRITE if may_write else Scope.READ,
            help_text=_("Never more than you may do yourself in this workspace."),
        )
