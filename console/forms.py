"""Forms of the shell: the choices in the header."""

from django import forms

from console.models import Theme, User


class ThemeForm(forms.Form):
    theme = forms.ChoiceField(choices=Theme.choices)


class TimeZoneForm(forms.ModelForm):
    class Meta:
        model = User
        fields = ("time_zone",)
