"""What a workspace's owner chooses for its dashboards."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.endpoints import EndpointRefused
from console.secrets import TRACKING, encrypt
from jobs.tracking.mlflow import check_address
from jobs.tracking.models import Tracking

_PLAIN = {"autocomplete": "off", "spellcheck": "false"}


class TrackingForm(forms.ModelForm):
    """The password or token is never shown again; left empty, the present one stays."""

    mlflow_uri = forms.CharField(
        label=gettext_lazy("MLflow server"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("https://mlflow.example.com; empty sends nothing."),
        widget=forms.TextInput(attrs=_PLAIN | {"inputmode": "url"}),
    )
    secret = forms.CharField(
        label=gettext_lazy("Password or token"),
        required=False,
        max_length=2000,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = Tracking
        fields = ("tensorboard", "mlflow_uri", "mlflow_experiment", "mlflow_username")
        widgets = {
            "mlflow_experiment": forms.TextInput(attrs=_PLAIN),
            "mlflow_username": forms.TextInput(attrs=_PLAIN),
        }
        help_texts = {
            "tensorboard": gettext_lazy("One file for each run, written while it trains."),
            "mlflow_experiment": gettext_lazy("Made if the server has none of that name. Empty: the workspace's name."),
            "mlflow_username": gettext_lazy("Empty where the server takes a token, or asks nobody."),
        }  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.mlflow_secret:
            self.fields["secret"].help_text = _("Left empty, the present one stays.")

    def clean_mlflow_uri(self) -> str:
        uri: str = self.cleaned_data["mlflow_uri"].strip().rstrip("/")
        if uri:
            try:
                check_address(uri)
            except (EndpointRefused, ValueError) as error:
                raise ValidationError(str(error)) from error
        return uri

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        moved = "mlflow_uri" in self.changed_data and self.initial.get("mlflow_uri")
        if moved and cleaned.get("mlflow_uri") and self.instance.mlflow_secret and not cleaned.get("secret"):
            # Else whoever may edit the address could have the stored password sent to a server of their own.
            self.add_error("secret", _("Another server needs the password or token typed again."))
        return cleaned

    def save(self, commit: bool = True) -> Tracking:
        tracking: Tracking = super().save(commit=False)
        if self.cleaned_data["secret"]:
            tracking.mlflow_secret = encrypt(self.cleaned_data["secret"], TRACKING)
        elif not tracking.mlflow_uri:
            tracking.mlflow_secret = ""
        if {"tensorboard", "mlflow_uri"} & set(self.changed_data):
            tracking.since = timezone.now()
        tracking.save()
        return tracking
