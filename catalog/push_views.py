"""Copies of a version in object storage or on a hub: the section of its page, and the forms that ask for one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods

from catalog import pushing
from catalog.models import HubAccount, ModelVersion, Push
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


class HubPushForm(forms.Form):
    """The repository that a version is copied to."""

    account = forms.ModelChoiceField(
        HubAccount.objects.none(), label=_("Hub account"), empty_label=None, to_field_name="uid"
    )
    repository = forms.CharField(
        label=_("Repository"),
        max_length=200,
        help_text=_("people/model; a private one is made if there is none of that name."),
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, version: ModelVersion, **kwargs: Any) -> None:
        kwargs |= {"auto_id": "hub_%s"}
        super().__init__(*args, **kwargs)
        field = self.fields["account"]
        assert isinstance(field, forms.ModelChoiceField)
        field.queryset = HubAccount.objects.filter(workspace=version.model.workspace_id)


# What is asked for, its form, who carries it out; the key is the button's.
WAYS: dict[str, tuple[Callable[..., forms.Form], Callable[..., Push]]] = {
    "storage": (PushForm, pushing.request),
    "hub": (HubPushForm, pushing.request_on_hub),
}


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
    way = "hub" if request.POST.get("way") == "hub" else "storage"
    form_class, ask_for = WAYS[way]
    form = form_class(request.POST, version=version)
    if form.is_valid():
        try:
            ask_for(version, request.user, **form.cleaned_data)
        except pushing.PushRefused as refused:
            form.add_error(refused.field or None, str(refused))
    refused_forms = {way: form} if form.errors else {}
    if wants_fragment(request):
        return _section(request, version, refused_forms)
    if refused_forms:
        context = {"version": version, "may_write": True, "nav": "models"}
        return render(
            request, "models/push.html", context | pushes_context(version, refused_forms), status=422
        )
    return redirect("models:version", uid=uid)


def pushes_context(version: ModelVersion, refused: dict[str, forms.Form] | None = None) -> dict[str, Any]:
    """What models/_pushes.html needs besides `version` and `may_write`; `refused` forms by way."""
    newest: list[Push] = list(version.pushes.select_related("connection", "account", "created_by")[:SHOWN])
    workspace = version.model.workspace_id
    return {
        "pushes": newest,
        "is_pushing": any(not push.is_over for push in newest),
        "forms": {way: kind(version=version) for way, (kind, _ask) in WAYS.items()} | (refused or {}),
        "has_connections": Connection.objects.filter(workspace=workspace).exists(),
        "has_accounts": HubAccount.objects.filter(workspace=workspace).exists(),
    }


def _section(
    request: HtmxHttpRequest, version: ModelVersion, refused: dict[str, forms.Form] | None = None
) -> HttpResponse:
    context = {"version": version, "may_write": may_write(request, version.model.workspace_id)}
    status = 422 if refused else 200
    return render(request, "models/_pushes.html", context | pushes_context(version, refused), status=status)
