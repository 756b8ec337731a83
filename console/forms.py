"""Forms of the shell: what a person chooses for themselves."""

from zoneinfo import available_timezones

from django import forms
from django.conf import settings
from django.utils.translation import gettext_lazy as _

from console.models import Theme, User


class ThemeForm(forms.Form):
    theme = forms.ChoiceField(choices=Theme.choices)


class PreferencesForm(forms.ModelForm):
    """Language, time zone and theme of the signed-in person."""

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
        fields = ("language", "time_zone", "theme")
        labels = {"theme": _("Appearance")}

    zones = sorted(available_timezones())
