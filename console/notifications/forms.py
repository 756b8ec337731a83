"""What people choose: by which ways they hear of what, and where events of a workspace are sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.endpoints import EndpointRefused, check_url
from console.models import User, Workspace
from console.notifications import webhooks
from console.notifications.kinds import KINDS, Audience, Kind
from console.notifications.models import Channels, Webhook

_PLAIN = {"autocomplete": "off", "spellcheck": "false"}


@dataclass(frozen=True)
class Line:
    """One kind in the form of channels."""

    kind: Kind
    in_page: forms.BoundField
    email: forms.BoundField
    others: forms.BoundField | None


class ChannelsForm(forms.Form):
    """Switches for each kind: by which ways, and whether of others' runs too."""

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user
        present = {item.kind: item for item in Channels.objects.filter(user=user)}
        for kind in KINDS.values():
            chosen = present.get(kind.key) or Channels(in_page=True, email=kind.email)
            for switch, label in self._switches(kind).items():
                self.fields[f"{switch}-{kind.key}"] = forms.BooleanField(
                    label=f"{kind.label}: {label}", required=False, initial=getattr(chosen, switch)
                )

    def _switches(self, kind: Kind) -> dict[str, str]:
        """Names of fields of Channels, and what they are called."""
        switches = {"in_page": _("in the page"), "email": _("by e-mail")}
        return switches | ({"others": _("runs of others too")} if kind.to == Audience.STARTER else {})

    def lines(self) -> Iterator[Line]:
        for kind in KINDS.values():
            fields = {switch: self[f"{switch}-{kind.key}"] for switch in self._switches(kind)}
            yield Line(kind, fields["in_page"], fields["email"], fields.get("others"))

    def save(self) -> None:
        for kind in KINDS.values():
            chosen = {switch: self.cleaned_data[f"{switch}-{kind.key}"] for switch in self._switches(kind)}
            Channels.objects.update_or_create(user=self.user, kind=kind.key, defaults=chosen)


class WebhookForm(forms.ModelForm):
    """A webhook of a workspace; its secret is made elsewhere."""

    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=500,
        help_text=gettext_lazy("https://example.com/hooks/jingtiao; it has to answer with 2xx within seconds."),
        widget=forms.TextInput(attrs=_PLAIN | {"inputmode": "url"}),
    )  # fmt: skip
    kinds = forms.MultipleChoiceField(
        label=gettext_lazy("What is sent"),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": gettext_lazy("Choose at least one.")},
    )

    class Meta:
        model = Webhook
        fields = ("name", "url", "kinds", "enabled")
        labels = {"name": gettext_lazy("Name"), "enabled": gettext_lazy("Switched on")}
        widgets = {"name": forms.TextInput(attrs=_PLAIN)}

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.workspace = workspace
        self.fields["kinds"].choices = [(kind.key, kind.label) for kind in KINDS.values()]  # type: ignore[attr-defined]
        if self.instance.pk is None:
            self.initial.setdefault("kinds", list(KINDS))
            del self.fields["enabled"]

    @cached_property
    def was_enabled(self) -> bool:
        return bool(self.initial.get("enabled", True))

    def clean_name(self) -> str:
        """Said at the field; what is left to the constraint is two that are saved at the same moment."""
        name: str = self.cleaned_data["name"]
        others = Webhook.objects.filter(workspace=self.instance.workspace, name=name)
        if others.exclude(pk=self.instance.pk).exists():
            raise ValidationError(_("This workspace already has a webhook of that name."))
        return name

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"].strip()
        try:
            check_url(url)
        except EndpointRefused as error:
            raise ValidationError(str(error)) from error
        return url

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.instance.pk is None and not webhooks.has_room(self.instance.workspace):
            text = _("This workspace has %(count)d webhooks already. Delete one first.")
            raise ValidationError(text % {"count": webhooks.MOST})
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        """The workspace is not typed, but the name has to be new in it."""
        return super()._get_validation_exclusions() - {"workspace"}  # type: ignore[misc]

    def save(self, commit: bool = True) -> Webhook:
        if self.instance.enabled and not self.was_enabled:
            webhooks.switched_on(self.instance)
        webhook: Webhook = super().save(commit)
        return webhook
