"""Servers that answer for a model, registered by operators."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from catalog.models import ServingEndpoint
from console.secrets import SERVING, encrypt


class ServingEndpointForm(forms.ModelForm):
    """The key is typed and never shown again; left empty, it stays as it is."""

    new_key = forms.CharField(
        label=_("API key"),
        required=False,
        strip=True,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Kept encrypted. Empty: stays as it is."),
    )
    remove_key = forms.BooleanField(label=_("Remove the API key"), required=False)

    class Meta:
        model = ServingEndpoint
        fields = ("base_model", "model_version", "url", "served_name", "enabled")


@admin.register(ServingEndpoint)
class ServingEndpointAdmin(admin.ModelAdmin):
    form = ServingEndpointForm
    list_display = ("__str__", "served_name", "has_key", "enabled")
    list_select_related = ("base_model", "model_version__model")
    autocomplete_fields = ("base_model", "model_version")

    @admin.display(description=_("API key"), boolean=True)
    def has_key(self, endpoint: ServingEndpoint) -> bool:
        return bool(endpoint.api_key)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if form.cleaned_data["remove_key"]:
            obj.api_key = ""
        if key := form.cleaned_data["new_key"]:
            obj.api_key = encrypt(key, SERVING)
        super().save_model(request, obj, form, change)
