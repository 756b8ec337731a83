"""People and workspaces for operators."""

from allauth.account import admin as _account_admin  # noqa: F401 -- registered, so that they can be taken back
from allauth.account.models import EmailAddress
from allauth.socialaccount import admin as _social_admin  # noqa: F401
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from console import audit_admin  # noqa: F401 -- registers the log
from console.models import ApiKey, Membership, User, Workspace
from console.notifications import admin as notifications_admin  # noqa: F401 -- registers theirs

admin.site.site_header = _("Jingtiao administration")
admin.site.site_title = _("Jingtiao")
admin.site.index_title = _("What is offered, and to whom")

# Of allauth's tables only the links between accounts and the identity provider are used.
admin.site.unregister((EmailAddress, SocialApp, SocialToken))
if settings.OIDC is None:
    admin.site.unregister(SocialAccount)


class MembershipInline(admin.TabularInline):
    model = Membership
    extra = 1
    autocomplete_fields = ("user",)


@admin.register(User)
class ConsoleUserAdmin(UserAdmin):
    fieldsets = (
        *(UserAdmin.fieldsets or ()),
        (_("Preferences"), {"fields": ("language", "time_zone", "theme")}),
    )


@admin.register(Workspace)
class WorkspaceAdmin(admin.ModelAdmin):
    list_display = ("name", "created_at")
    search_fields = ("name",)
    inlines = (MembershipInline,)


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Keys as operators see them: who uses what; they are made on their owner's page and revoked there."""

    list_display = ("name", "user", "workspace", "scope", "created_at", "last_used_at", "revoked_at")
    list_filter = ("workspace", "scope")
    list_select_related = ("user", "workspace")
    fields = readonly_fields = (*list_display, "access_key", "token_hint")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
