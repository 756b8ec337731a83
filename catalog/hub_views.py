"""Hub accounts of a workspace, and the form that copies a version to a hub."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from catalog.models import HubAccount
from console.access import current_membership, get_writable, writable_workspace
from console.endpoints import EndpointRefused, check_endpoint
from console.htmx import HtmxHttpRequest
from console.models import Workspace
from console.secrets import HUBS, encrypt

_PLAIN = {"autocomplete": "off", "spellcheck": "false"}


class HubAccountForm(forms.ModelForm):
    """A new account; its token is never shown again."""

    secret = forms.CharField(
        label=gettext_lazy("Token"),
        max_length=500,
        help_text=gettext_lazy("One that may write repositories."),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    class Meta:
        model = HubAccount
        fields = ("name", "endpoint")
        widgets = {"name": forms.TextInput(attrs=_PLAIN), "endpoint": forms.TextInput(attrs=_PLAIN)}

    def __init__(self, *args: Any, workspace: Workspace, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.workspace = workspace

    def clean_endpoint(self) -> str:
        endpoint: str = self.cleaned_data["endpoint"].strip().rstrip("/")
        try:
            check_endpoint(endpoint)
        except EndpointRefused as error:
            raise ValidationError(str(error)) from error
        return endpoint

    def _get_validation_exclusions(self) -> set[str]:
        """The workspace is not typed, but the name has to be new in it."""
        return super()._get_validation_exclusions() - {"workspace"}  # type: ignore[misc]

    def save(self, commit: bool = True) -> HubAccount:
        self.instance.token = encrypt(self.cleaned_data["secret"], HUBS)
        account: HubAccount = super().save(commit)
        return account


@require_http_methods(["GET", "POST"])
@login_required
def hub_accounts(request: HtmxHttpRequest) -> HttpResponse:
    """The accounts, and the form of another one."""
    membership = current_membership(request)
    workspace = writable_workspace(request) if request.method == "POST" else membership.workspace
    form = HubAccountForm(request.POST or None, workspace=workspace)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, _("%(name)s was added.") % {"name": form.instance.name})
        return redirect("models:hubs")
    context = {
        "accounts": HubAccount.objects.filter(workspace=workspace),
        "form": form,
        "may_write": membership.can_write,
        "nav": "models",
    }
    return render(request, "models/hubs.html", context, status=422 if form.errors else 200)


@require_POST
@login_required
def delete_hub_account(request: HtmxHttpRequest, uid: str) -> HttpResponse:
    """Forgets an account and its token; what was copied with it stays on the hub."""
    account = get_writable(HubAccount.objects.select_related("workspace"), request.user, uid=uid)
    account.delete()
    messages.success(request, _("%(name)s was deleted.") % {"name": account.name})
    return redirect("models:hubs")
