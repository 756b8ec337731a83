"""What people change about their own account beside the preferences: the password."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse_lazy
from django.utils.translation import gettext as _

from console import rate_limits
from console.models import User

# Passwords that somebody who found an open session may try as the old one.
ATTEMPTS_A_MINUTE = 10


class OwnPasswordForm(PasswordChangeForm):
    """Django's form, which says no more about the old password once it was guessed at too often."""

    def clean_old_password(self) -> str:
        count = rate_limits.count(f"password:{self.user.pk}", ATTEMPTS_A_MINUTE)
        if count and count.is_exceeded:
            text = _("Too many attempts. Try again in %(seconds)d seconds.") % {"seconds": count.reset}
            self.add_error("old_password", text)
            return ""
        return super().clean_old_password()


class PasswordView(PasswordChangeView):
    """Changes the password. Every other session of the person ends, because its hash was made with the old one."""

    form_class = OwnPasswordForm
    template_name = "console/password.html"
    success_url = reverse_lazy("preferences")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if isinstance(request.user, User) and not has_password(request.user):
            raise Http404
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        messages.success(self.request, _("Password changed. Other sessions have ended."))
        return super().form_valid(form)

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        return self.render_to_response(self.get_context_data(form=form), status=422)


def has_password(user: User) -> bool:
    """Whether there is a password to change: who comes through an identity provider has none, or needs none."""
    return bool(settings.PASSWORD_SIGN_IN) and user.has_usable_password()
