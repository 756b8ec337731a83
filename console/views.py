"""The shell: home, the choices in the header."""

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils import translation
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from console.access import SESSION_KEY, memberships
from console.account import has_password
from console.forms import PreferencesForm, ThemeForm
from console.models import User


def _back(request: HttpRequest) -> HttpResponseRedirect:
    """Redirects to the page the form was sent from, if it is one of ours."""
    target = request.POST.get("next") or request.META.get("HTTP_REFERER", "")
    if url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure()):
        return HttpResponseRedirect(target)
    return HttpResponseRedirect("/")


@require_GET
@login_required
def home(request: HttpRequest) -> HttpResponse:
    """The console opens on the list of jobs, as the seed's does."""
    if not memberships(request):
        return render(request, "console/no_workspace.html")
    return redirect("jobs:list")


@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    """Remembers the language: for a signed-in person in the account, for everybody in a cookie."""
    language = request.POST.get("language", "")
    response = _back(request)
    if translation.check_for_language(language) and language in dict(settings.LANGUAGES):
        if isinstance(request.user, User):
            User.objects.filter(pk=request.user.pk).update(language=language)
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME,
            language,
            max_age=365 * 24 * 3600,
            samesite="Lax",
            secure=settings.HTTPS,
        )
    return response


@require_POST
@login_required
def set_theme(request: HttpRequest) -> HttpResponse:
    """Remembers light, dark or the system's choice."""
    form = ThemeForm(request.POST)
    if form.is_valid() and isinstance(request.user, User):
        User.objects.filter(pk=request.user.pk).update(theme=form.cleaned_data["theme"])
    return _back(request)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def preferences(request: HttpRequest) -> HttpResponse:
    """The person's own e-mail address, language, time zone and theme."""
    form = PreferencesForm(request.POST or None, instance=request.user)
    if request.method == "POST" and form.is_valid():
        user = form.save()
        if user.language:
            translation.activate(user.language)
        messages.success(request, _("Preferences saved."))
        return redirect("preferences")
    context = {"form": form, "has_password": isinstance(request.user, User) and has_password(request.user)}
    return render(request, "console/preferences.html", context, status=422 if form.errors else 200)


@require_POST
@login_required
def switch_workspace(request: HttpRequest) -> HttpResponse:
    """Looks at another of the user's workspaces from now on; others' ids are ignored."""
    chosen = request.POST.get("workspace", "")
    if any(str(item.workspace_id) == chosen for item in memberships(request)):
        request.session[SESSION_KEY] = int(chosen)
    return redirect("home")


@require_GET
def styleguide(request: HttpRequest) -> HttpResponse:
    """Every component on one page; only mounted with DEBUG."""
    return render(request, "console/styleguide.html")
