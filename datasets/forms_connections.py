"""Forms of connections to object storage, and of what is taken from them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.endpoints import EndpointRefused, check_endpoint
from console.models import Workspace
from datasets import connections
from datasets.connections import ConnectionFailed
from datasets.models import Connection


class ConnectionForm(forms.ModelForm):
    """A connection, new or changed. It is tried out before it is valid; the secret key is never shown again."""

    endpoint = forms.CharField(
        label=gettext_lazy("Endpoint"),
        required=False,
        max_length=200,
        help_text=gettext_lazy("https://s3.<region>.bcebos.com for BOS; empty for AWS itself."),
    )
    secret = forms.CharField(
        label=gettext_lazy("Secret key"),
        max_length=256,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = Connection
        fields = ("name", "endpoint", "region", "bucket", "addressing", "access_key")
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "access_key": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
        }
        help_texts = {
            "region": gettext_lazy(
                "As in the endpoint: bj, gz, su … for BOS; us-east-1 where a server has none."
            ),
            "bucket": gettext_lazy("Empty lets people choose among the buckets that the keys may list."),
            "addressing": gettext_lazy("BOS and AWS understand both, MinIO most often only the path."),
        }

    field_order = ("name", "endpoint", "region", "addressing", "access_key", "secret", "bucket")

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.workspace = workspace
        if self.instance.pk:
            self.fields["secret"].required = False
            self.fields["secret"].help_text = _("Left empty, the present one stays.")

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        others = Connection.objects.filter(workspace=self.instance.workspace, name=name)
        if others.exclude(pk=self.instance.pk).exists():
            raise ValidationError(_("This workspace already has a connection of that name."))
        return name

    def clean_endpoint(self) -> str:
        endpoint: str = self.cleaned_data["endpoint"].rstrip("/")
        if endpoint:
            try:
                check_endpoint(endpoint)
            except EndpointRefused as error:
                raise ValidationError(str(error)) from error
        return endpoint

    def _post_clean(self) -> None:
        """After the instance has its fields: tries them out, if nothing else is wrong."""
        super()._post_clean()  # type: ignore[misc]
        if self.errors:
            return
        if secret := self.cleaned_data["secret"]:
            connections.set_secret(self.instance, secret)
        try:
            connections.test(self.instance)
        except ConnectionFailed as failed:
            self.add_error(failed.field if failed.field in self.fields else None, failed.message)
        else:
            self.instance.tested_at = timezone.now()
