"""Addresses of the sign-in through an identity provider; the second is the one that is registered there."""

from django.urls import path

from console.oidc import pages

urlpatterns = [
    path("", pages.start, name="oidc_start"),
    path("callback/", pages.callback, name="oidc_callback"),
]
