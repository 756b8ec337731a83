"""Forms of the datasets pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from console.models import Workspace
from datasets.formats import by_row_type
from datasets.models import Dataset, VersionState
from datasets.sources import EXTENSIONS
from datasets.uploads import check, max_file_bytes


class FilesInput(forms.ClearableFileInput):
    allow_multiple_selected = True


class FilesField(forms.FileField):
    """Any number of data files; cleans to a list, empty where none was chosen."""

    widget = FilesInput(attrs={"accept": ",".join((*EXTENSIONS, ".gz"))})

    def clean(self, data: Any, initial: Any = None) -> list[UploadedFile]:
        files = data if isinstance(data, list | tuple) else [data] if data else []
        if not files and self.required:
            raise ValidationError(self.error_messages["required"], code="required")
        # One list of errors instead of FileField's first one: with many files all are worth knowing.
        check(files)
        return list(files)


class FormatForm(forms.Form):
    """The format that files are read in."""

    format = forms.ChoiceField(label=gettext_lazy("Format"), required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["format"].choices = [  # type: ignore[attr-defined]
            ("", _("Detect from the content")),
            *(
                (group, [(format_.key, format_.label) for format_ in formats])
                for group, formats in by_row_type()
            ),
        ]


class UploadForm(FormatForm):
    """Files of a version and the format they are read in."""

    files = FilesField(  # type: ignore[assignment]  # the form's own `files` is not used
        label=gettext_lazy("Files"), error_messages={"required": gettext_lazy("Choose a file first.")}
    )

    field_order: tuple[str, ...] = ("files", "format")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["files"].help_text = _(
            ".jsonl, .json, .csv, .xlsx, .parquet or .txt, pictures, and archives of them (.zip, .tar.gz, .gz); texts "
            "in UTF-8. Several files at a time, up to %(size)s each."
        ) % {"size": filesizeformat(max_file_bytes())}


class SettingsForm(forms.ModelForm):
    """Name and description of a dataset of `instance.workspace`."""

    class Meta:
        model = Dataset
        fields = ("name", "description")
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "description": forms.Textarea(attrs={"rows": 3}),
        }

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        others = Dataset.objects.filter(workspace=self.instance.workspace, name=name)
        if others.exclude(pk=self.instance.pk).exists():
            raise ValidationError(_("This workspace already has a dataset of that name."))
        return name

    def clean_description(self) -> str:
        # Browsers send CR LF; each line end is one character to the person who wrote it.
        return str(self.cleaned_data["description"]).replace("\r\n", "\n")


class DatasetForm(UploadForm, SettingsForm):
    """A new dataset, with or without its first files."""

    field_order = ("name", "description", "files", "format")

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.workspace = workspace
        self.fields["name"].widget.attrs["autofocus"] = True
        self.fields["files"].required = False


class FilterForm(forms.Form):
    """What the list shows; values that make no sense are ignored."""

    q = forms.CharField(required=False)
    state = forms.ChoiceField(choices=VersionState.choices, required=False)
