"""Copies of a version in object storage: the section of its page, and the form that asks for one."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from catalog import pushing
from catalog.models import ModelVersion, Push
from console.access import get_visible, get_writable, may_write
from console.htmx import HtmxHttpRequest, wants_fragment
from datasets.models import Connection

SHOWN = 10


class PushForm(forms.Form):
    """Where a version is copied to."""

    connection = forms.ModelChoiceField(
        Connection.objects.none(), label=_("Connection"), empty_label=None, to_field_name="uid"
    )
    bucket = forms.CharField(
        label=_("Bucket"),
        required=False,
        max_length=63,
        help_text=_("Only for a connection that names none itself."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    folder = forms.CharField(
        label=_("Folder"),
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, version: ModelVersion, **kwargs: Any) -> None:
        kwargs |= {"auto_id": "push_%s", "initial": {"folder": pushing.default_folder(version)}}
        super().__init__(*args, **kwargs)
        field = self.fields["connection"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = Connection.objects.filter(workspace=version.model.workspace_id)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        connection = cleaned.get("connection")
        if connection and not connection.bucket and not cleaned.get("bucket"):
            self.add_error("bucket", _("This connection names no bucket, so name one here."))
        return cleaned


@require_http_methods(["GET", "POST"])
@login_required
def pushes(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """GET: the section, for htmx, while something is being copied. POST: copies the version."""
    found = ModelVersion.objects.select_related("model__workspace")
    if request.method == "GET":
        version = get_visible(found, request.user, "model__workspace", uid=uid)
        if not wants_fragment(request):
            return redirect("models:version", uid=uid)
        return _section(request, version)
    version = get_writable(found, request.user, "model__workspace", uid=uid)
    form = PushForm(request.POST, version=version)
    if form.is_valid():
        try:
            pushing.request(version, request.user, **form.cleaned_data)
        except pushing.PushRefused as refused:
            form.add_error(refused.field or None, str(refused))
    if wants_fragment(request):
        return _section(request, version, form if form.errors else None)
    if form.errors:
        context = {"version": version, "may_write": True, "nav": "models"}
        return render(request, "models/push.html", context | pushes_context(version, form), status=422)
    return redirect("models:version", uid=uid)


def pushes_context(version: ModelVersion, form: PushForm | None = None) -> dict[str, Any]:
    """What models/_pushes.html needs besides `version` and `may_write`."""
    newest: list[Push] = list(version.pushes.select_related("connection", "created_by")[:SHOWN])
    return {
        "pushes": newest,
        "is_pushing": any(not push.is_over for push in newest),
        "push_form": form or PushForm(version=version),
        "has_connections": Connection.objects.filter(workspace=version.model.workspace_id).exists(),
    }


def _section(request: HtmxHttpRequest, version: ModelVersion, form: PushForm | None = None) -> HttpResponse:
    context = {"version": version, "may_write": may_write(request, version.model.workspace_id)}
    status = 422 if form else 200
    return render(request, "models/_pushes.html", context | pushes_context(version, form), status=status)
