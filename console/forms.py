"""Forms of the shell: what a person chooses for themselves."""

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from console.models import Role, Theme, User


class ThemeForm(forms.Form):
    theme = forms.ChoiceField(choices=Theme.choices)


class PreferencesForm(forms.ModelForm):
    """E-mail address, language, time zone and theme of the signed-in person."""

    email = forms.EmailField(
        label=_("E-mail address"),
        required=False,
        max_length=254,
        help_text=_("Owners of a workspace find your account by it, or by your user name."),
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )

    time_zone = forms.CharField(
        label=_("Time zone"),
        required=False,
        help_text=_("All times are shown in this zone; empty means the console's own."),
        widget=forms.TextInput(attrs={"list": "time-zones", "autocomplete": "off"}),
    )
    language = forms.ChoiceField(
        label=_("Language"), required=False, choices=[("", _("As the browser")), *settings.LANGUAGES]
    )

    class Meta:
        model = User
        fields = ("email", "language", "time_zone", "theme")
        labels = {"theme": _("Appearance")}

    zones = sorted(available_timezones())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if settings.OIDC and settings.OIDC.matches_email:
            # Whoever has an address gets the account: nobody gives themselves one.
            self.fields["email"].disabled = True
            self.fields["email"].help_text = _(
                "An operator changes it: people are recognised by it at sign-in."
            )


class RoleForm(forms.Form):
    role = forms.ChoiceField(
        label=_("Role"),
        choices=Role.choices,
        help_text=_(
            "Owners decide who is here and read the audit log; members create and change; viewers look on."
        ),
    )


class MemberForm(RoleForm):
    """Who is to come in, and as what."""

    person = forms.CharField(
        label=_("User name or e-mail address"),
        max_length=254,
        help_text=_("Exactly as in the account, which an operator makes or the first sign-in."),
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        ),
    )
    field_order = ("person", "role")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"].initial = Role.MEMBER
