"""All addresses of the console."""

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path, re_path

from console import account, audit_pages, health, member_pages, metrics, sign_in, views
from jobs.views import resources, tracking

urlpatterns = [
    path("", views.home, name="home"),
    path("login/", sign_in.SignInView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("language/", views.set_language, name="set_language"),
    path("theme/", views.set_theme, name="set_theme"),
    path("preferences/", views.preferences, name="preferences"),
    path("preferences/password/", account.PasswordView.as_view(), name="password"),
    path("workspace/", views.switch_workspace, name="switch_workspace"),
    path("members/", member_pages.members_page, name="members"),
    path("members/add/", member_pages.add, name="member_add"),
    path("members/<int:pk>/role/", member_pages.change, name="member_role"),
    path("members/<int:pk>/remove/", member_pages.remove, name="member_remove"),
    path("api-keys/", include("console.api.urls")),
    path("api/v1/", include("console.rest.urls")),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", metrics.metrics, name="metrics"),
    path("sft/", include("jobs.urls")),
    path("dashboards/", tracking.tracking, name="tracking"),
    path("audit/", audit_pages.audit_log, name="audit"),
    re_path(r"^audit/export\.(?P<ending>csv|jsonl)$", audit_pages.audit_file, name="audit_file"),
    path("", include("console.notifications.urls")),
    path("resources/", resources.resources, name="resources"),
    path("datasets/", include("datasets.urls")),
    path("models/", include("catalog.registry_urls")),
    path("base-models/", include("catalog.urls")),
    path("admin/login/", sign_in.admin_sign_in),
    path("admin/", admin.site.urls),
    # For programs; at the root, where Qianfan's SDK looks for them.
    path("", include("jobs.api.urls")),
]

if settings.OIDC:
    urlpatterns.append(path("oidc/", include("console.oidc.urls")))
if settings.DEBUG:
    urlpatterns.append(path("styleguide/", views.styleguide, name="styleguide"))
