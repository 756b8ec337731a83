"""The console's addresses as they are with OIDC_ISSUER set."""

from django.urls import include, path

from console.urls import urlpatterns as without

urlpatterns = [path("oidc/", include("console.oidc.urls")), *without]
